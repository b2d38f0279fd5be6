#include "policies/policy_spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace dualmesh::policies {

namespace {

std::string shown(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

}  // namespace

ParameterValues::ParameterValues(std::span<const Parameter> parameters) : parameters_(parameters) {
  for (const Parameter& parameter : parameters) values_.push_back(parameter.initial);
}

std::string ParameterValues::read(std::string_view text) {
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const std::string_view key = item.substr(0, item.find('='));
    const auto known = std::find_if(parameters_.begin(), parameters_.end(),
                                    [&](const Parameter& one) { return one.name == key; });
    if (known == parameters_.end()) {
      std::string problem = "there is no parameter '" + std::string(key) + "'";
      if (parameters_.empty()) return problem + "; it takes none";
      problem += "; allowed:";
      for (const Parameter& one : parameters_) problem += " " + std::string(one.name);
      return problem;
    }
    const std::string_view number =
        item.substr(std::min(item.size(), key.size() + 1));  // empty without '='
    double value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    const bool whole = error == std::errc{} && end == number.data() + number.size();
    if (!whole || !std::isfinite(value) || value < known->least || value > known->most) {
      return "'" + std::string(number) + "' is no value for " + std::string(key) + " (" +
             std::string(known->meaning) + "); allowed: " + shown(known->least) + " to " +
             shown(known->most);
    }
    values_[static_cast<std::size_t>(known - parameters_.begin())] = value;
  }
  return {};
}

PolicySpec split_spec(std::string_view spec) {
  const std::size_t colon = spec.find(':');
  if (colon == std::string_view::npos) return {spec, {}};
  return {spec.substr(0, colon), spec.substr(colon + 1)};
}

RoutingSpec split_routing(std::string_view spec) {
  const std::size_t at = spec.find('@');
  if (at == std::string_view::npos) return {spec, {}, false};
  return {spec.substr(0, at), spec.substr(at + 1), true};
}

}  // namespace dualmesh::policies
