// hash-key: an API key as the configuration takes it. Asks no node.
#include <spdlog/fmt/fmt.h>
#include <sys/random.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "node/ctl/answers.h"
#include "node/ctl/commands.h"
#include "node/ctl/json.h"
#include "node/identity/key_digest.h"

namespace dualmesh::node::ctl {
namespace {

constexpr std::size_t kFewestCharacters = 22;  // 128 bits in base64

// A key typed at a terminal is not shown.
class QuietTerminal {
 public:
  QuietTerminal() : known_(::tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!known_) return;
    std::fputs("key: ", stderr);
    termios quiet = before_;
    quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
  }
  ~QuietTerminal() {
    if (!known_) return;
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
    std::fputs("\n", stderr);
  }

 private:
  termios before_{};
  const bool known_;
};

net::Result<std::string> read_key() {
  using Key = net::Result<std::string>;
  const QuietTerminal quiet;
  std::string key;
  std::getline(std::cin, key);
  if (key.ends_with('\r')) key.pop_back();
  if (key.empty()) return net::Error{"standard input: empty; must be a key on a line of its own"};
  for (const unsigned char c : key) {
    if (c <= 0x20 || c >= 0x7f) {
      return net::Error{"the key has spaces or characters beyond ASCII; no client could send it"};
    }
  }
  return Key(boost::system::in_place_value, std::move(key));
}

net::Result<std::string> new_key() {
  std::array<unsigned char, 32> random{};
  if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) {
    return net::Error{"the system gives no random bytes"};
  }
  return net::Result<std::string>(boost::system::in_place_value, make_key(random));
}

}  // namespace

int run_hash_key(Session& session, bool make_new) {
  const auto key = make_new ? new_key() : read_key();
  if (!key) return failed(key.error());
  if (key->size() < kFewestCharacters) {
    std::fputs("warning: a key of so few characters can be found by trying; use --new\n", stderr);
  }
  const std::string digest = to_text(digest_of(*key));
  if (session.json()) {
    nlohmann::ordered_json answer{{"digest", digest}};
    if (make_new) answer["key"] = *key;
    print_json(answer);
    return kExitDone;
  }
  if (make_new) std::puts(fmt::format("# for the client, shown only here: {}", *key).c_str());
  std::puts(fmt::format("keys = [\"{}\"]", digest).c_str());
  return kExitDone;
}

}  // namespace dualmesh::node::ctl
