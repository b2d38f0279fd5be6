#include "node/kv/kv_endpoints.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "net/destination.h"

namespace dualmesh::node {
namespace {

constexpr std::string_view kTcp = "tcp://";
constexpr std::string_view kIpc = "ipc://";
constexpr std::size_t kMaxIpcPath = 107;  // sockaddr_un holds no more

// No spaces or control characters, nothing the syntax uses itself.
bool is_plain(std::string_view text) {
  return std::ranges::none_of(
      text, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 0x7f || c == ','; });
}

// Why an address cannot be dialled; nothing when it can.
std::optional<net::Error> address_error(std::string_view what, std::string_view text) {
  if (text.starts_with(kIpc)) {
    const std::string_view path = text.substr(kIpc.size());
    if (!path.empty() && path != "*" && path.size() <= kMaxIpcPath && is_plain(path)) return {};
    return net::Error{fmt::format("{} '{}' must have a path of 1 to {} characters after ipc://",
                                  what, text, kMaxIpcPath)};
  }
  net::HostPort parts;
  if (!text.starts_with(kTcp) || !is_plain(text) ||
      !net::split_destination(text.substr(kTcp.size()), parts)) {
    return net::Error{fmt::format(
        "{} '{}' must be tcp://HOST:PORT, an IPv6 host in brackets, or ipc://PATH", what, text)};
  }
  // libzmq reads "source;destination" and "%interface" there, neither of which is meant.
  if (net::is_everywhere(parts.host) || parts.host.find_first_of(";*") != std::string::npos) {
    return net::Error{fmt::format("{} '{}' must name a host that can be dialled: not {}", what,
                                  text, parts.host)};
  }
  return {};
}

std::optional<net::HostPort> tcp_parts(std::string_view address) {
  net::HostPort parts;
  if (!address.starts_with(kTcp)) return {};
  if (!net::split_destination(address.substr(kTcp.size()), parts)) return {};
  return parts;
}

// Ranks dial ports base .. base + ranks - 1: they must exist, and replay's be others than events'.
std::optional<net::Error> ranks_error(const KvEndpoints& ends) {
  for (const auto* address : {&ends.events, &ends.replay}) {
    if (address->empty()) continue;
    const auto parts = tcp_parts(*address);
    if (!parts && ends.ranks > 1) {
      return net::Error{
          fmt::format("ranks={} needs tcp://: '{}' has no port to count from, so it "
                      "serves rank 0 alone",
                      ends.ranks, *address)};
    }
    if (parts && parts->port + ends.ranks - 1 > 65535) {
      return net::Error{fmt::format("ranks={} beginning at port {} go beyond port 65535",
                                    ends.ranks, parts->port)};
    }
  }
  const auto events = tcp_parts(ends.events), replay = tcp_parts(ends.replay);
  if (ends.events == ends.replay) {
    return net::Error{fmt::format("replay '{}' must be another address than events", ends.replay)};
  }
  if (!events || !replay || events->host != replay->host) return {};
  const std::uint32_t apart =
      std::max(events->port, replay->port) - std::min(events->port, replay->port);
  if (apart >= ends.ranks) return {};
  return net::Error{
      fmt::format("with ranks={} the ports from {} and from {} overlap: events and "
                  "replay must be at least {} apart",
                  ends.ranks, events->port, replay->port, ends.ranks)};
}

std::optional<net::Error> take_ranks(std::string_view value, KvEndpoints& out) {
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out.ranks);
  if (error == std::errc() && end == value.data() + value.size() && out.ranks >= 1 &&
      out.ranks <= kMaxKvRanks) {
    return {};
  }
  return net::Error{fmt::format("ranks '{}' must be from 1 to {}", value, kMaxKvRanks)};
}

std::optional<net::Error> take_option(std::string_view name, std::string_view value,
                                      KvEndpoints& out) {
  if (name == "replay") {
    if (auto error = address_error("replay", value)) return error;
    out.replay = value;
    return {};
  }
  if (name == "ranks") return take_ranks(value, out);
  if (name == "topic") {
    if (value.size() > kMaxKvTopicBytes || !is_plain(value)) {
      return net::Error{fmt::format("topic '{}' must be at most {} characters without spaces",
                                    value, kMaxKvTopicBytes)};
    }
    out.topic = value;
    return {};
  }
  return net::Error{
      fmt::format("'{}' is no part of an address for KV events: allowed are replay=, ranks= and "
                  "topic= after the first",
                  name)};
}

}  // namespace

net::Result<KvEndpoints> parse_kv_endpoints(std::string_view text) {
  KvEndpoints out;
  std::string_view rest = text;
  std::string seen;
  for (bool first = true; first || !rest.empty(); first = false) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, comma);
    const bool last = comma == rest.size();
    rest.remove_prefix(last ? comma : comma + 1);
    if (!last && rest.empty()) return net::Error{fmt::format("'{}' ends in a comma", text)};
    if (first) {
      if (auto error = address_error("events", part)) return *std::move(error);
      out.events = part;
      continue;
    }
    const std::size_t equals = std::min(part.find('='), part.size());
    const std::string_view name = part.substr(0, equals);
    const std::string mark = fmt::format(",{},", name);
    if (seen.find(mark) != std::string::npos) {
      return net::Error{fmt::format("'{}' is given twice in '{}'", name, text)};
    }
    seen += mark;
    const std::string_view value = part.substr(std::min(equals + 1, part.size()));
    if (auto error = take_option(name, value, out)) return *std::move(error);
  }
  if (auto error = ranks_error(out)) return *std::move(error);
  return out;
}

std::string print(const KvEndpoints& endpoints) {
  std::string text = endpoints.events;
  if (!endpoints.replay.empty()) text += ",replay=" + endpoints.replay;
  if (endpoints.ranks != 1) text += fmt::format(",ranks={}", endpoints.ranks);
  if (!endpoints.topic.empty()) text += ",topic=" + endpoints.topic;
  return text;
}

std::string endpoint_of_rank(const std::string& base, std::uint32_t rank) {
  if (rank == 0) return base;
  auto parts = tcp_parts(base);
  DUALMESH_CHECK(parts && parts->port + rank <= 65535, "base={} rank={}", base, rank);
  parts->port = static_cast<std::uint16_t>(parts->port + rank);
  return std::string(kTcp) + net::join_destination(*parts);
}

std::optional<KvAddresses::Clash> KvAddresses::use(const std::string& address, const User& user) {
  const auto [first, last] = users_.equal_range(address);
  for (auto at = first; at != last; ++at) {
    const User& other = at->second;
    if (other.instance == user.instance) continue;
    if (other.is_replay && user.is_replay) {
      return Clash{address, other.instance, "one replay address cannot serve two instances"};
    }
    if (other.is_replay || user.is_replay) {
      return Clash{address, other.instance, "one is heard there, the other asked for replay"};
    }
    const bool told_apart =
        !other.topic.starts_with(user.topic) && !user.topic.starts_with(other.topic);
    if (told_apart) continue;
    return Clash{address, other.instance,
                 "engines at one address must have topics that tell them apart"};
  }
  users_.emplace(address, user);
  return {};
}

std::optional<KvAddresses::Clash> KvAddresses::add(const std::string& instance,
                                                   const KvEndpoints& endpoints) {
  std::optional<Clash> clash;
  for (std::uint32_t rank = 0; rank < endpoints.ranks && !clash; ++rank) {
    clash = use(endpoint_of_rank(endpoints.events, rank), {instance, endpoints.topic, false});
    if (clash || endpoints.replay.empty()) continue;
    clash = use(endpoint_of_rank(endpoints.replay, rank), {instance, endpoints.topic, true});
  }
  return clash;
}

}  // namespace dualmesh::node
