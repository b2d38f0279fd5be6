#include "node/router/request_deadline.h"

#include <algorithm>
#include <charconv>

namespace dualmesh::node {

net::Result<std::chrono::milliseconds> request_timeout(const net::Headers& headers,
                                                       const DeadlineSettings& settings) {
  if (!headers.has(kTimeoutHeader)) return std::min(settings.standard, settings.most);
  const std::string_view text = headers.find(kTimeoutHeader);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = !text.empty() && end == text.data() + text.size();
  if (!is_number || (error == std::errc() && value == 0) || error == std::errc::invalid_argument) {
    return net::Error{std::string(kTimeoutHeader) +
                      " must be a whole number of milliseconds, 1 or more."};
  }
  const auto most = static_cast<std::uint64_t>(settings.most.count());
  const bool beyond = error == std::errc::result_out_of_range || value > most;
  return std::chrono::milliseconds(beyond ? most : value);
}

}  // namespace dualmesh::node
