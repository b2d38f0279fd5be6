// How deeply a JSON text is nested, before a parser builds a tree of it: trees are walked by
// recursion, and a text of a few megabytes can be nested deeper than any stack.
//
// Threads: a function.
#pragma once

#include <cstddef>
#include <string_view>

namespace dualmesh::net {

inline constexpr std::size_t deepest_json = 256;

// Also true for texts that are no JSON but look as if they were that deep.
bool is_nested_deeper(std::string_view json, std::size_t levels = deepest_json);

}  // namespace dualmesh::net
