// one_of: the check of an option that takes one of a few names, and what it is told otherwise.
// CLI::CheckedTransformer says numbers, and CLI::IsMember what is no sentence.
//
// Threads: a pure function.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <string>

namespace dualmesh::node {

// The names of the table; `transforms`: to the number of what it names.
template <class Value>
CLI::Validator one_of(const std::map<std::string, Value>& table, bool transforms) {
  const auto check = [table, transforms](std::string& text) -> std::string {
    const auto found = table.find(text);
    if (found != table.end()) {
      if (transforms) text = std::to_string(static_cast<int>(found->second));
      return {};
    }
    std::string names;
    for (const auto& [name, value] : table) names += " " + name;
    return fmt::format("there is no '{}'; allowed:{}", text, names);
  };
  return CLI::Validator(check, "");
}

}  // namespace dualmesh::node
