// Where an instance publishes its KV events, as people write it:
//
//   tcp://HOST:PORT[,replay=tcp://HOST:PORT][,ranks=N][,topic=TEXT]
//
// One publisher per data-parallel rank, rank r at the port + r, for events and for replay alike.
// ipc://PATH names no port, so it serves rank 0 alone. An IPv6 host is in brackets.
//
// Invariant: what is accepted can be dialled by every rank, and `print` of it reads back as the
// same. Threads: values. Source: the rule of ports is vLLM's and SGLang's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "net/error.h"

namespace dualmesh::node {

struct KvEndpoints {
  std::string events;       // tcp://host:port or ipc://path, of rank 0
  std::string replay;       // the same; empty: the engine offers none
  std::string topic;        // events whose topic begins so; empty: all
  std::uint32_t ranks = 1;  // data-parallel ranks
  bool operator==(const KvEndpoints&) const = default;
};

inline constexpr std::uint32_t kMaxKvRanks = 64;
inline constexpr std::size_t kMaxKvTopicBytes = 128;

// The error names the part and what is allowed.
net::Result<KvEndpoints> parse_kv_endpoints(std::string_view text);
std::string print(const KvEndpoints& endpoints);

// The address of one rank: `base` as in KvEndpoints, rank < its ranks.
std::string endpoint_of_rank(const std::string& base, std::uint32_t rank);

// Which instance is heard where. An address is one engine's alone, but for a publisher that passes
// on the events of several, which their topics tell apart.
class KvAddresses {
 public:
  struct Clash {
    std::string address, other;  // the instance that has it
    std::string_view why;        // what would have to be otherwise
  };
  // Nothing: no other instance is heard at one of these.
  std::optional<Clash> add(const std::string& instance, const KvEndpoints& endpoints);

 private:
  struct User {
    std::string instance, topic;
    bool is_replay;
  };
  std::optional<Clash> use(const std::string& address, const User& user);
  std::multimap<std::string, User> users_;
};

}  // namespace dualmesh::node
