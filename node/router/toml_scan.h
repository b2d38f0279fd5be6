// A first look at a TOML text, before the parsing library sees it.
//
// TOML allows characters beyond ASCII in strings and comments only. The library's table of them has
// holes that end in undefined behaviour, so such a character elsewhere is found and refused here.
//
// Threads: a pure function.
// Source: TOML 1.0.0, sections "Comment", "Keys" and "String".
#pragma once

#include <cstddef>
#include <string_view>

namespace dualmesh::node {

// The line, from 1, of the first character beyond ASCII outside of strings and comments; 0 = none.
std::size_t line_of_stray_character(std::string_view text);

}  // namespace dualmesh::node
