// number_in: the check of an option that takes a number with a fraction. CLI::Range lets "nan"
// through, since it is neither too small nor too large.
//
// Threads: a pure function.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>

namespace dualmesh::node {

inline CLI::Validator number_in(double least, double most) {
  const auto check = [=](std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= least && value <= most) return {};
    return fmt::format("'{}' is not a number from {} to {}", text, least, most);
  };
  return CLI::Validator(check, fmt::format("FLOAT in [{} - {}]", least, most));
}

}  // namespace dualmesh::node
