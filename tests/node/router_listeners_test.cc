// The settings of the client listeners, and the certificate that is shown there while it changes.
#include <doctest/doctest.h>

#include <ctime>
#include <filesystem>
#include <fstream>

#include "node/router/config.h"
#include "node/router/listener_certificate.h"
#include "tests/net/certificates.h"

namespace dualmesh::node {
namespace {

constexpr std::int64_t kDay_s = 86'400;

std::string problems_of(const Config& config) {
  std::string all;
  for (const ConfigProblem& problem : check_whole(config, "d.toml")) all += problem.text() + "\n";
  return all;
}

Config alone() {
  Config config;
  config.mesh.alone = true;
  return config;
}

Config with_tls() {
  Config config = alone();
  config.http_tls_listen = "0.0.0.0:8443";
  config.http_tls = {{}, "a.crt", "a.key"};
  return config;
}

Certificates& certificates() {
  static Certificates made("a b");
  return made;
}

struct Shown {
  net::CertificateFiles files = certificates().of("a");
  const std::int64_t now_s = std::time(nullptr);
  std::shared_ptr<const net::ServerCertificate> certificate;
  std::unique_ptr<ListenerCertificate> listener;

  Shown() {
    auto opened = ListenerCertificate::open(files, now_s,
                                            [this](auto shown) { certificate = std::move(shown); });
    REQUIRE(opened.has_value());
    listener = std::move(*opened);
  }
};

}  // namespace

TEST_CASE("clients need a listener, and each listener what belongs to it") {
  CHECK(problems_of(with_tls()) == "");
  Config config = with_tls();
  config.http_listen = "";
  CHECK(problems_of(config) == "");
  config.mesh.http_advertise = "a:1";
  CHECK(problems_of(config) ==
        "d.toml: http.advertise: needs http.listen; other nodes hand requests on without TLS\n");
  config = alone();
  config.http_listen = "";
  CHECK(problems_of(config) ==
        "d.toml: http.listen: empty like http.tls.listen; clients need one of them\n");
  const std::string together =
      "d.toml: http.tls.listen, http.tls.certificate and http.tls.key belong together: set all or "
      "none\n";
  for (std::string Config::*part : {&Config::http_tls_listen}) {
    config = with_tls();
    config.*part = "";
    CHECK(problems_of(config) == together);
  }
  for (std::string net::CertificateFiles::*part :
       {&net::CertificateFiles::certificate, &net::CertificateFiles::key}) {
    config = with_tls();
    config.http_tls.*part = "";
    CHECK(problems_of(config) == together);
  }
  config = with_tls();
  config.http_tls_listen = config.http_listen;
  CHECK(problems_of(config) ==
        "d.toml: http.tls.listen: 127.0.0.1:8080 is http.listen as well; "
        "each needs a port of its own\n");
  config.http_listen = config.http_tls_listen = "127.0.0.1:0";
  CHECK(problems_of(config) == "");
  config = alone();
  config.http_listen = config.mesh.listen;
  CHECK(problems_of(config).find("http.listen: " + config.mesh.listen + " is mesh.listen") !=
        std::string::npos);
}

TEST_CASE("what others cannot dial is not advertised beside TLS") {
  Config config = alone();
  CHECK(mesh_config(config).http_advertise == "127.0.0.1:8080");
  config = with_tls();
  CHECK(mesh_config(config).http_advertise == "127.0.0.1:8080");  // a mesh on loopback
  config.mesh.listen = "10.0.0.1:7000";
  CHECK(mesh_config(config).http_advertise == "");
  config.http_listen = "10.0.0.1:8080";
  CHECK(mesh_config(config).http_advertise == "10.0.0.1:8080");
  config.http_listen = "";
  CHECK(mesh_config(config).http_advertise == "");
}

TEST_CASE("a certificate that cannot serve is a problem of the configuration") {
  Config config = with_tls();
  config.http_tls = certificates().of("a");
  const std::int64_t now_s = std::time(nullptr);
  CHECK(check_certificate(config, "d.toml", now_s).empty());
  CHECK(check_certificate(config, "d.toml", now_s + 366 * kDay_s).size() == 1);
  config.http_tls.key = certificates().path("b.key");
  const auto problems = check_certificate(config, "d.toml", now_s);
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].text() == "d.toml: http.tls: " + config.http_tls.key +
                                  ": this is not the key of the certificate in " +
                                  config.http_tls.certificate);
  config.http_tls_listen = "";
  CHECK(check_certificate(config, "d.toml", now_s).empty());
  CHECK(ListenerCertificate::open(config.http_tls, now_s, [](auto) {}).has_error());
}

TEST_CASE("half a renewal is not shown; the certificate in use stays until the rest has come") {
  Shown shown;
  const auto first = shown.certificate;
  const std::int64_t until_s = shown.listener->not_after_s();
  CHECK(until_s == first->not_after_s());
  std::filesystem::rename(shown.files.key, shown.files.key + ".old");
  shown.listener->check(shown.now_s);
  CHECK(shown.certificate == first);
  CHECK(shown.listener->files_refused());
  CHECK(shown.listener->not_after_s() == until_s);
  std::filesystem::rename(shown.files.key + ".old", shown.files.key);
  shown.listener->check(shown.now_s);
  CHECK(shown.certificate != first);
  CHECK_FALSE(shown.listener->files_refused());
}

TEST_CASE("the keys of tickets are made anew twice a day, a broken file notwithstanding") {
  Shown shown;
  const auto first = shown.certificate;
  shown.listener->check(shown.now_s + kDay_s / 2 - 1);
  CHECK(shown.certificate == first);
  shown.listener->check(shown.now_s + kDay_s / 2);
  const auto second = shown.certificate;
  CHECK(second != first);
  std::filesystem::rename(shown.files.key, shown.files.key + ".old");
  shown.listener->check(shown.now_s + kDay_s);
  CHECK(shown.certificate == second);
  std::filesystem::rename(shown.files.key + ".old", shown.files.key);
}

}  // namespace dualmesh::node
