// The characters of an HTTP head: what its lines, names and values are made of.
//
// Threads: pure functions. Source: RFC 9110 5.5, 5.6.2, 5.6.3.
#pragma once

#include <cstddef>
#include <string_view>

namespace dualmesh::net {

// How many characters of a token `text` begins with.
std::size_t token_length(std::string_view text);
bool is_token(std::string_view text);

// Nothing but visible ASCII, TAB, space and bytes above 127 may stand in a line.
bool is_control(char c);
bool is_field_value(std::string_view text);
// The first control character; `end` if there is none.
const char* find_control(const char* at, const char* end);

// Without the spaces and TABs around it.
std::string_view trim(std::string_view text);

}  // namespace dualmesh::net
