// The table of all settings: name, place in Config, what is allowed, help.
//
// A setting is added by adding a row; the TOML reader, the flags, the checks and the printed
// configuration follow. A value arrives as text or as a TOML value and is stored through `store`,
// which answers with what is allowed when it does not fit.
//
// Invariant: keys are unique, "section.name", and rows of one section stand together.
// Threads: immutable.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "node/router/config.h"

namespace dualmesh::node {

// Where a setting lives. Plain function pointers: the table is data.
template <class T>
using PlaceOf = T& (*)(Config&);
using SettingPlace =
    std::variant<PlaceOf<bool>, PlaceOf<std::uint32_t>, PlaceOf<std::uint64_t>, PlaceOf<double>,
                 PlaceOf<std::string>, PlaceOf<std::vector<std::string>>,
                 PlaceOf<std::chrono::milliseconds>, PlaceOf<std::chrono::seconds>>;

enum class TextRule : std::uint8_t {
  any,
  not_empty,
  address,     // host:port
  ip_address,  // the same, the host an IPv4 or IPv6 address
  address_or_empty,
  ip_address_or_empty,
  one_of,       // `allowed`
  policy,       // a name with or without parameters (policies/policy_spec.h)
  queue_order,  // the same, or empty
};

struct Setting {
  std::string_view key;
  SettingPlace place;
  std::string_view help;
  double least = 0.0;  // numbers only
  double most = 0.0;
  TextRule rule = TextRule::any;  // text, and each entry of a list
  std::vector<std::string> allowed = {};
  bool secret = false;

  std::string_view section() const { return key.substr(0, key.find('.')); }
  std::string_view name() const { return key.substr(key.find('.') + 1); }
};

struct SettingSection {
  std::string_view name;
  std::string_view help;
};

std::span<const Setting> all_settings();
std::span<const SettingSection> all_sections();
const Setting* find_setting(std::string_view key);

// A value before it is known to fit.
using RawValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>>;

// Stores it, or says in words what is allowed ("must be a whole number from 1 to 64").
std::optional<std::string> store(const Setting& setting, const RawValue& value, Config& config);
std::optional<std::string> store_text(const Setting& setting, const std::string& text,
                                      Config& config);
std::string describe_allowed(const Setting& setting);
std::string value_as_toml(const Setting& setting, const Config& config);
std::string quoted(std::string_view text);  // as a TOML basic string

// The nearest of `names` to a misspelt one, or empty.
std::string nearest_name(std::string_view name, std::span<const std::string_view> names);

}  // namespace dualmesh::node
