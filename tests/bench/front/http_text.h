// The little that load and fake instances read of HTTP/1.1 heads. For the benchmark alone: both
// sides are ours, so nothing here is strict.
#pragma once

#include <strings.h>

#include <cstdlib>
#include <string_view>

namespace dualmesh::bench {

inline constexpr std::string_view kHeadEnd = "\r\n\r\n";

// The value of a field; `name` ends with its colon. Empty when there is none.
inline std::string_view field(std::string_view head, std::string_view name) {
  for (std::size_t line = head.find("\r\n"); line != std::string_view::npos;
       line = head.find("\r\n", line + 2)) {
    const std::string_view rest = head.substr(line + 2);
    if (rest.size() < name.size() || strncasecmp(rest.data(), name.data(), name.size()) != 0)
      continue;
    std::string_view value = rest.substr(name.size(), rest.find("\r\n") - name.size());
    while (value.starts_with(' ')) value.remove_prefix(1);
    return value;
  }
  return {};
}

// -1 when there is none. What follows the digits is in the same buffer and ends them.
inline long content_length(std::string_view head) {
  const std::string_view value = field(head, "content-length:");
  return value.empty() ? -1 : std::strtol(value.data(), nullptr, 10);
}

}  // namespace dualmesh::bench
