#include "net/mesh_refusals.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace dualmesh::net {

const char* to_string(Refusal reason) {
  static constexpr std::array<const char*, kRefusals> kNames = {
      "connections", "tls",      "certificate", "silent",     "framing",       "oversize",
      "calls",       "protocol", "cluster",     "version",    "parameters",    "identity",
      "name_in_use", "epoch",    "members",     "unreadable", "contradiction", "not_applied"};
  return kNames[static_cast<std::size_t>(reason)];
}

void Refusals::count(Refusal reason, std::string_view who, std::string_view why) {
  Slot& slot = slots_[static_cast<std::size_t>(reason)];
  ++slot.count;
  if (timer_.now() < (slot.last_why == why ? slot.next_same_line : slot.next_line)) {
    ++slot.unlogged;
    return;
  }
  slot.next_line = timer_.now() + 1 * kj::SECONDS;
  slot.next_same_line = timer_.now() + 1 * kj::MINUTES;
  slot.last_why = why;
  const std::uint64_t unlogged = std::exchange(slot.unlogged, 0);
  spdlog::warn("mesh: {}: refused {} ({}): {}{}", node_name_, who, to_string(reason), why,
               unlogged == 0 ? std::string() : fmt::format("; {} more before it", unlogged));
}

std::uint64_t Refusals::all() const {
  std::uint64_t sum = 0;
  for (const Slot& slot : slots_) sum += slot.count;
  return sum;
}

}  // namespace dualmesh::net
