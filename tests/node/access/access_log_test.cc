// AccessLog: every record is written, dropped or failed, and counted so; files may be renamed.
#include "node/access/access_log.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

using namespace dualmesh::node;

namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/access-XXXXXX";
    REQUIRE(::mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

AccessRecord numbered(std::uint32_t number) {
  AccessRecord record;
  record.retries = number;
  return record;
}

}  // namespace

TEST_CASE("what is added before the end is written, in the order of each lane") {
  const Folder folder;
  {
    auto log = AccessLog::open({folder / "log", "n", 2, 10'000, std::chrono::milliseconds(1)});
    REQUIRE(log.has_value());
    std::thread other([&] {
      for (std::uint32_t i = 0; i < 2'000; ++i) (*log)->add(1, numbered(i));
    });
    for (std::uint32_t i = 0; i < 2'000; ++i) (*log)->add(0, numbered(i));
    other.join();
  }
  const auto lines = lines_of(folder / "log");
  CHECK(lines.size() == 4'000);
  std::uint64_t sum = 0;
  for (const std::string& line : lines) {
    sum += nlohmann::json::parse(line)["retries"].get<std::uint64_t>();
  }
  CHECK(sum == 2 * (1'999ull * 2'000 / 2));
}

TEST_CASE("a writer that is too slow loses what is beyond the bound, and counts it") {
  const Folder folder;
  auto log = AccessLog::open({folder / "log", "n", 1, 10, std::chrono::hours(1)});
  REQUIRE(log.has_value());
  for (std::uint32_t i = 0; i < 25; ++i) (*log)->add(i, numbered(i));
  CHECK((*log)->figures().dropped == 15);
  log->reset();
  CHECK(lines_of(folder / "log").size() == 10);
}

TEST_CASE("a file that cannot be opened is said") {
  CHECK(AccessLog::open({"/nowhere/log", "n"}).has_error());
}

TEST_CASE("lines go to the new file once the old one has been renamed") {
  const Folder folder;
  LineFile file(folder / "log");
  REQUIRE(file.open().has_value());
  CHECK(file.write("one\n"));
  file.follow();
  CHECK(file.write("two\n"));
  std::filesystem::rename(folder / "log", folder / "log.1");
  CHECK(file.write("three\n"));  // nobody has looked yet
  file.follow();
  CHECK(file.write("four\n"));
  std::filesystem::remove(folder / "log");
  REQUIRE(file.open().has_value());
  CHECK(file.write("five\n"));
  CHECK(lines_of(folder / "log.1") == std::vector<std::string>{"one", "two", "three"});
  CHECK(lines_of(folder / "log") == std::vector<std::string>{"five"});
}

TEST_CASE("a reader that does not read loses lines, and finds whole ones when it reads again") {
  const Folder folder;
  const std::string pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const int reader = ::open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  LineFile file(pipe, std::chrono::milliseconds(1));
  REQUIRE(file.open().has_value());
  const std::string line(1'000, 'x');
  int written = 0;
  while (written < 10'000 && file.write(line + "\n")) ++written;
  CHECK(written > 0);
  CHECK(written < 10'000);
  std::string got;
  const auto read_all = [&] {
    char buffer[65'536];
    for (ssize_t count = 0; (count = ::read(reader, buffer, sizeof buffer)) > 0;) {
      got.append(buffer, static_cast<std::size_t>(count));
    }
  };
  read_all();
  CHECK(file.write("last\n"));
  read_all();
  CHECK(got.ends_with("\nlast\n"));
  ::close(reader);
}

TEST_CASE("what the file does not take is counted") {
  auto log = AccessLog::open({"/dev/full", "n", 1, 100, std::chrono::milliseconds(1)});
  REQUIRE(log.has_value());
  (*log)->add(0, numbered(1));
  while ((*log)->figures().failed == 0) std::this_thread::yield();
  CHECK((*log)->figures().written == 0);
}
