#include "node/ctl/duration.h"

#include <array>
#include <charconv>
#include <cmath>
#include <utility>

namespace dualmesh::node::ctl {

net::Result<std::uint32_t> duration_ms(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
      {{"ms", 1.0}, {"s", 1e3}, {"m", 60e3}, {"h", 3'600e3}}};
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const auto& [name, factor] : kUnits) {
    if (error != std::errc() || unit != name) continue;
    const double result = std::round(value * factor);
    if (result >= 1.0 && result <= kLongestDurationMs) return static_cast<std::uint32_t>(result);
    return net::Error{fmt::format("'{}' must be from 1ms to 24h", text)};
  }
  return net::Error{fmt::format(
      "'{}' must be a number with a unit, ms, s, m or h: for example 500ms, 10s or 2m", text)};
}

}  // namespace dualmesh::node::ctl
