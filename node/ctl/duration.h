// Times on the command line: a number and its unit, 500ms, 10s, 2m.
//
// Invariant: without a unit it is refused, because 5 could be either of two things. Threads:
// values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "net/error.h"

namespace dualmesh::node::ctl {

inline constexpr std::uint32_t kLongestDurationMs = 24 * 3'600'000;

net::Result<std::uint32_t> duration_ms(std::string_view text);  // 1 ms to 24 hours

}  // namespace dualmesh::node::ctl
