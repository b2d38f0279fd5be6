// Small readers of the nodes' answers, shared by the commands that print them.
//
// Threads: none.
#pragma once

#include <capnp/schema.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

namespace dualmesh::node::ctl {

inline std::string text(capnp::Text::Reader reader) { return std::string(reader.cStr()); }

template <class List>
std::vector<std::string> texts(const List& list) {
  std::vector<std::string> result;
  for (auto entry : list) result.push_back(text(entry));
  return result;
}

// In an order that is the same whoever is asked.
template <class List>
auto by_name(const List& list) {
  std::vector<std::decay_t<decltype(list[0])>> sorted;
  for (auto entry : list) sorted.push_back(entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.getName() < b.getName(); });
  return sorted;
}

}  // namespace dualmesh::node::ctl
