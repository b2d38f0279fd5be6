// What the rows of the table of settings are written with, and the sections that have a file of
// their own. Private to settings_*.cc.
//
// Threads: none; the table is made once.
#pragma once

#include <vector>

#include "node/router/settings_table.h"

#define DUALMESH_PLACE(type, member)            \
  PlaceOf<type> {                               \
    [](Config& c) -> type& { return c.member; } \
  }
#define FLAG(member) DUALMESH_PLACE(bool, member)
#define COUNT(member) DUALMESH_PLACE(std::uint32_t, member)
#define SIZE(member) DUALMESH_PLACE(std::uint64_t, member)
#define REAL(member) DUALMESH_PLACE(double, member)
#define TEXT(member) DUALMESH_PLACE(std::string, member)
#define TEXTS(member) DUALMESH_PLACE(std::vector<std::string>, member)
#define MILLIS(member) DUALMESH_PLACE(std::chrono::milliseconds, member)
#define SECONDS(member) DUALMESH_PLACE(std::chrono::seconds, member)

namespace dualmesh::node {

inline constexpr double kKiB = 1024;
inline constexpr double kGiB = 1024.0 * 1024 * 1024;
inline constexpr double kDay_s = 86'400;
inline constexpr double kDay_ms = kDay_s * 1'000;

inline Setting address(std::string_view key, SettingPlace place, std::string_view help) {
  return {key, place, help, 0, 0, TextRule::address};
}
inline Setting optional_address(std::string_view key, SettingPlace place, std::string_view help) {
  return {key, place, help, 0, 0, TextRule::address_or_empty};
}

void add_http(std::vector<Setting>& table);  // settings_http.cc
void add_instances(std::vector<Setting>& table);
void add_routing(std::vector<Setting>& table);
void add_residency(std::vector<Setting>& table);
void add_kv(std::vector<Setting>& table);

}  // namespace dualmesh::node
