// For tests that take deltas whole and do not look at what they change.
//
// Threads: constants.
#pragma once

#include <cstddef>

namespace dualmesh::crdt {

constexpr std::size_t kAll = 1'000'000;  // entries: more than any test has
constexpr auto ignore = [](auto&&...) {};

}  // namespace dualmesh::crdt
