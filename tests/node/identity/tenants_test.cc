// Tenants: the file, read, changed, broken and mended while the node runs.
#include "node/identity/tenants.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace dualmesh::node;

namespace {

class TenantFile {
 public:
  TenantFile() {
    char name[] = "/tmp/tenants-XXXXXX";
    const int file = ::mkstemp(name);
    REQUIRE(file >= 0);
    ::close(file);
    path_ = name;
  }
  ~TenantFile() { std::filesystem::remove(path_); }

  const std::string& path() const { return path_; }
  // As careful writers do: a new file in its place.
  void write(const std::string& text) {
    std::ofstream(path_ + ".new") << text;
    std::filesystem::rename(path_ + ".new", path_);
  }

 private:
  std::string path_;
};

std::string table(const std::string& name, const std::string& key, const std::string& more = "") {
  return "[[tenant]]\nname = \"" + name + "\"\nkeys = [\"" + to_text(digest_of(key)) + "\"]\n" +
         more + "\n";
}

bool knows(const Tenants& tenants, const std::string& key) {
  return tenants.directory()->find(key) != nullptr;
}

}  // namespace

TEST_CASE("a changed file counts from the next look on; a broken one changes nothing") {
  TenantFile file;
  file.write(table("a", "k1"));
  IdentitySettings settings;
  settings.tenants_file = file.path();
  settings.api_keys = {"clear"};
  std::vector<std::vector<std::string>> weights;
  Tenants tenants(settings, [&](const std::vector<std::string>& now) { weights.push_back(now); });
  CHECK(knows(tenants, "k1"));
  CHECK(knows(tenants, "clear"));
  CHECK(!tenants.look());  // nothing new
  const auto answers = tenants.directory()->find("k1")->answers;
  CHECK(answers != nullptr);
  CHECK(tenants.directory()->find("clear")->answers == nullptr);

  file.write(table("a", "k2", "weight = 3"));
  CHECK(tenants.look());
  CHECK(knows(tenants, "k2"));
  CHECK(!knows(tenants, "k1"));
  CHECK(weights.back() == std::vector<std::string>{"a=3"});
  CHECK(tenants.directory()->answers().at("a") == answers);  // who has the name goes on counting
  CHECK(tenants.directory()->find("k2")->answers == answers);

  for (const std::string& broken :
       {std::string("[[tenant"), table("a", "k1") + table("a", "k3"),
        table("a", "k1") + table("b", "k1"), table("a", "k1", "wieght = 2"),
        table("a", "k1", "private_prefixes = true"), std::string("[http]\nlisten = \"\"\n"),
        std::string("[[tenant]]\nname = \"a\"\nkeys = [\"k4\"]\n"),
        std::string("[[tenant]]\nname = \"a\"\n"), std::string("tenant = 5\n"),
        std::string("tenant = [5]\n"), table("a", "k1", "weight = true"), table("", "k1"),
        table("a", "k1", "weight = nan")}) {
    CAPTURE(broken);
    const auto before = tenants.broken_files();
    file.write(broken);
    CHECK(!tenants.look());
    CHECK(tenants.broken_files() == before + 1);
    CHECK(knows(tenants, "k2"));
    CHECK(knows(tenants, "clear"));
  }
  std::filesystem::remove(file.path());
  CHECK(!tenants.look());
  CHECK(knows(tenants, "k2"));
  file.write(table("b", "k5"));
  CHECK(tenants.look());
  CHECK(knows(tenants, "k5"));
  CHECK(!knows(tenants, "k2"));
}

TEST_CASE("a file that was never good lets nobody in") {
  IdentitySettings settings;
  settings.tenants_file = "/nowhere/tenants.toml";
  Tenants tenants(settings);
  CHECK(tenants.needs_key());
  CHECK(!knows(tenants, ""));
  CHECK(tenants.broken_files() == 1);
}

TEST_CASE("what is wrong with a file is told with its line, and never with its content") {
  const auto read = read_tenants_text(
      "[[tenant]]\nname = \"a b\"\nkeys = [\"my-clear-key\", 5]\nweight = 0\n", "tenants.toml");
  REQUIRE(read.has_error());
  const std::string& message = read.error().message;
  CHECK(message.find("tenants.toml:2: tenant.name: must be") != std::string::npos);
  CHECK(message.find("tenants.toml:3: tenant.keys: each entry must be") != std::string::npos);
  CHECK(message.find("tenants.toml:4: tenant.weight: must be") != std::string::npos);
  CHECK(message.find("my-clear-key") == std::string::npos);
  const auto no_toml = read_tenants_text("keys = [\"my-clear-key\"", "tenants.toml");
  REQUIRE(no_toml.has_error());
  CHECK(no_toml.error().message.find("my-clear-key") == std::string::npos);
}

TEST_CASE("the watcher finds a change by itself and ends when told") {
  TenantFile file;
  file.write(table("a", "k1"));
  IdentitySettings settings;
  settings.tenants_file = file.path();
  settings.check_interval = std::chrono::milliseconds(1);
  std::mutex mutex;
  std::condition_variable changed;
  int changes = 0;
  Tenants tenants(settings, [&](const std::vector<std::string>&) {
    const std::lock_guard lock(mutex);
    ++changes;
    changed.notify_all();
  });
  tenants.watch();
  file.write(table("a", "k2"));
  std::unique_lock lock(mutex);
  REQUIRE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return changes == 2; }));
  CHECK(knows(tenants, "k2"));
}
