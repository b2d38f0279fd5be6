// What a stranger at a node's mesh port may cost it: other callers, its log, its counters, its
// time.
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sstream>

#include "tests/node/bad_peer.h"

namespace dualmesh::node {
namespace {

// What is logged while it lives.
class Logged {
 public:
  Logged()
      : sink_(std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)),
        before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink_));
  }
  ~Logged() { spdlog::set_default_logger(before_); }
  std::string text() const { return text_.str(); }  // once nobody logs any more

 private:
  std::ostringstream text_;
  std::shared_ptr<spdlog::sinks::ostream_sink_mt> sink_;
  std::shared_ptr<spdlog::logger> before_;
};

std::size_t count_of(const std::string& part, const std::string& text) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

void connect_and_reset(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  const linger at_once{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(fd);
}

// Of another name each and of a cluster that does not exist; `forged` is in the cluster's name.
void refused_hellos(BadPeer& peer, const Victim& victim, int count, const std::string& forged) {
  net::MeshConnection connection(peer.connect());
  auto bootstrap = connection.bootstrap().castAs<wire::Bootstrap>();
  for (int i = 0; i < count; ++i) {
    auto request = bootstrap.helloRequest();
    honest_hello("stranger-" + std::to_string(i), victim.config, request.initHello());
    request.getHello().getParameters().setCluster("another" + forged);
    CHECK_FALSE(request.send().wait(peer.scope()).getWelcome().getAccepted());
  }
}

}  // namespace

TEST_CASE("connections that are reset before they are accepted hold up nobody") {
  Logged log;
  {
    Victim victim;
    BadPeer peer(victim.mesh->port());
    for (int i = 0; i < 50; ++i) connect_and_reset(victim.mesh->port());
    CHECK(victim.serves(peer));
    CHECK(victim.untouched());
  }
  CHECK(count_of("accepting: ", log.text()) == 0);  // each would stop accepting for a second
}

TEST_CASE("a caller whose hello was refused is counted once, not as silent too") {
  MeshConfig config = quiet_config();
  config.hello_timeout_ms = 100;
  Victim victim(config);
  BadPeer peer(victim.mesh->port());
  net::MeshConnection connection(peer.connect());
  auto request = connection.bootstrap().castAs<wire::Bootstrap>().helloRequest();
  honest_hello("evil", victim.config, request.initHello());
  request.getHello().getParameters().setCluster("another");
  CHECK_FALSE(request.send().wait(peer.scope()).getWelcome().getAccepted());
  connection.on_disconnect().wait(peer.scope());  // the node ends it
  CHECK(refused(*victim.mesh, "cluster") == 1);
  CHECK(refused(*victim.mesh, "silent") == 0);
}

TEST_CASE("refused hellos without end cost a bounded number of lines in the log") {
  Logged log;
  {
    Victim victim;
    BadPeer peer(victim.mesh->port());
    refused_hellos(peer, victim, 2'000, "");
    CHECK(refused(*victim.mesh, "cluster") == 2'000);
    CHECK(victim.serves(peer));
  }
  const std::string text = log.text();
  CHECK(count_of("we refused stranger-", text) > 0);
  CHECK(count_of("we refused stranger-", text) < 100);
}

TEST_CASE("clients that an administrator names in clear are told by their hashes in the log") {
  Logged log;
  {
    Victim victim;
    BadPeer peer(victim.mesh->port());
    net::MeshConnection connection(peer.connect());
    auto admin = connection.bootstrap()
                     .castAs<wire::Bootstrap>()
                     .adminRequest()
                     .send()
                     .wait(peer.scope())
                     .getAdmin()
                     .getAs<wire::Admin>();
    auto set = admin.setClientWeightsRequest();
    set.setWeights("sk-secret=2,#0123456789abcdef=3");
    set.send().wait(peer.scope());
    auto wrong = admin.setClientWeightsRequest();
    wrong.setWeights("#sk-secret=2");
    CHECK_THROWS_AS(wrong.send().wait(peer.scope()), kj::Exception);
  }
  const std::string text = log.text();
  CHECK(count_of("secret", text) == 0);
  CHECK(count_of("=2 #0123456789abcdef=3", text) == 1);
  CHECK(count_of("a key is # and 16 hexadecimal digits", text) == 1);
}

TEST_CASE("what a hello says cannot forge a line of the log") {
  Logged log;
  {
    Victim victim;
    BadPeer peer(victim.mesh->port());
    refused_hellos(peer, victim, 1, "\nerror: forged");
  }
  CHECK(count_of("stranger-0", log.text()) > 0);
  CHECK(count_of("\nerror: forged", log.text()) == 0);
}

TEST_CASE("nobody joins under a name that a terminal would act on") {
  Victim victim;
  BadPeer peer(victim.mesh->port());
  net::MeshConnection connection(peer.connect());
  auto request = connection.bootstrap().castAs<wire::Bootstrap>().helloRequest();
  honest_hello("r2\x1b[2J", victim.config, request.initHello());
  CHECK_FALSE(request.send().wait(peer.scope()).getWelcome().getAccepted());
  CHECK(refused(*victim.mesh, "unreadable") == 1);
  CHECK(victim.untouched());
}

}  // namespace dualmesh::node
