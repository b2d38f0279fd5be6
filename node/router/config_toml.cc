// Reading TOML: walks the parsed document along the table of settings.
#include <spdlog/fmt/fmt.h>

#include <algorithm>

#include "net/destination.h"
#include "node/identity/tenant_reader.h"
#include "node/program/toml.h"
#include "node/router/settings_table.h"

namespace dualmesh::node {
namespace {

constexpr std::string_view kInstanceKeys[] = {"name", "address", "models", "weight", "kv_events"};
constexpr double kLargestWeight = 1'000.0;
constexpr std::size_t kLongestFileBytes = 16 * 1024 * 1024;

class Reader {
 public:
  Reader(const std::string& file_name, Config& config) : file_name_(file_name), config_(config) {}

  ConfigProblems read(const toml::table& document) {
    for (const auto& [key, node] : document) {
      if (key.str() == "instance") {
        read_instances(node);
      } else if (key.str() == "tenant") {
        read_tenants(
            node, [this](const toml::node& at, std::string text) { problem(at, std::move(text)); },
            config_.identity.tenants);
      } else if (const auto* section = node.as_table(); section && is_section(key.str())) {
        read_section(std::string(key.str()), *section);
      } else if (is_section(key.str())) {
        problem(node, fmt::format("{}: must be a section, [{}]", key.str(), key.str()));
      } else {
        unknown_section(node, key.str());
      }
    }
    return std::move(problems_);
  }

 private:
  void problem(const toml::node& at, std::string message) {
    problems_.push_back(
        {fmt::format("{}:{}", file_name_, at.source().begin.line), std::move(message)});
  }

  static bool is_section(std::string_view name) {
    for (const SettingSection& section : all_sections()) {
      if (section.name == name) return true;
    }
    return false;
  }

  void unknown_section(const toml::node& at, std::string_view name) {
    std::string known;
    for (const SettingSection& section : all_sections())
      known += fmt::format("[{}], ", section.name);
    problem(at,
            fmt::format("{}: unknown; a file holds the sections {}[[instance]] and [[tenant]]",
                        name, known));
  }

  void unknown_key(const toml::node& at, std::string_view section, std::string_view name,
                   const std::vector<std::string_view>& names) {
    const std::string nearest = nearest_name(name, names);
    std::string known;
    for (const std::string_view one : names)
      known += (known.empty() ? "" : ", ") + std::string(one);
    problem(at,
            nearest.empty()
                ? fmt::format("{}.{}: unknown setting; allowed: {}", section, name, known)
                : fmt::format("{}.{}: unknown setting; did you mean {}?", section, name, nearest));
  }

  // `section` may be one within another: "mesh.tls".
  void read_section(const std::string& section, const toml::table& table) {
    std::vector<std::string_view> names;
    for (const Setting& setting : all_settings()) {
      if (setting.key.starts_with(section + ".")) {
        names.push_back(setting.key.substr(section.size() + 1));
      }
    }
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (const auto* inner = node.as_table();
          inner && std::any_of(names.begin(), names.end(),
                               [&](auto known) { return known.starts_with(name + "."); })) {
        read_section(section + "." + name, *inner);
        continue;
      }
      const Setting* setting = find_setting(section + "." + name);
      if (!setting) {
        unknown_key(node, section, key.str(), names);
        continue;
      }
      const std::optional<RawValue> value = raw(node);
      const auto refused =
          value ? store(*setting, *value, config_)
                : fmt::format("{}: must be {}", setting->key, describe_allowed(*setting));
      if (refused) problem(node, *refused);
    }
  }

  static std::optional<RawValue> raw(const toml::node& node) {
    if (const auto* flag = node.as_boolean()) return flag->get();
    if (const auto* whole = node.as_integer()) return whole->get();
    if (const auto* real = node.as_floating_point()) return real->get();
    if (const auto* text = node.as_string()) return text->get();
    const auto* list = node.as_array();
    if (!list) return std::nullopt;
    std::vector<std::string> texts;
    for (const toml::node& entry : *list) {
      const auto* text = entry.as_string();
      if (!text) return std::nullopt;
      texts.push_back(text->get());
    }
    return texts;
  }

  void read_instances(const toml::node& node) {
    const auto* list = node.as_array();
    if (!list) return problem(node, "instance: must be written [[instance]]");
    for (const toml::node& entry : *list) {
      if (const auto* table = entry.as_table()) {
        read_instance(*table);
      } else {
        problem(entry, "instance: must be written [[instance]]");
      }
    }
  }

  void read_instance(const toml::table& table) {
    SeedInstance instance;
    bool good = true;
    for (const auto& [key, node] : table) good &= read_instance_key(key.str(), node, instance);
    if (!table.contains("address")) {
      problem(table, "instance.address: missing; must be a text of the form HOST:PORT");
      good = false;
    }
    if (instance.name.empty()) instance.name = instance.address;
    if (good) config_.mesh.instances.push_back(std::move(instance));
  }

  bool read_instance_key(std::string_view key, const toml::node& node, SeedInstance& instance) {
    const std::optional<RawValue> value = raw(node);
    const auto* text = value ? std::get_if<std::string>(&*value) : nullptr;
    net::HostPort parsed;
    if (key == "name") {
      if (text && !text->empty()) return instance.name = *text, true;
      problem(node, "instance.name: must be a text, not empty");
    } else if (key == "address") {
      if (text && net::split_destination(*text, parsed)) return instance.address = *text, true;
      problem(node, "instance.address: must be a text of the form HOST:PORT, the port not 0");
    } else if (key == "models") {
      const auto* texts = value ? std::get_if<std::vector<std::string>>(&*value) : nullptr;
      if (texts) return instance.models = *texts, true;
      problem(node, "instance.models: must be a list of texts");
    } else if (key == "weight") {
      const double weight = node.value<double>().value_or(0.0);
      if (weight > 0 && weight <= kLargestWeight) return instance.weight = weight, true;
      problem(node, "instance.weight: must be a number above 0, at most 1000");
    } else if (key == "kv_events") {
      const std::string refused = text ? check_kv_events(*text) : "must be a text";
      if (refused.empty()) return instance.kv_events = *text, true;
      problem(node, "instance.kv_events: " + refused);
    } else {
      unknown_key(node, "instance", key, {std::begin(kInstanceKeys), std::end(kInstanceKeys)});
    }
    return false;
  }

  const std::string& file_name_;
  Config& config_;
  ConfigProblems problems_;
};

}  // namespace

ConfigProblems read_toml(std::string_view text, const std::string& file_name, Config& config) {
  if (text.size() > kLongestFileBytes) return {{file_name, "larger than 16 MiB"}};
  const toml::parse_result parsed = toml::parse(text, file_name);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return {{fmt::format("{}:{}", file_name, error.source().begin.line),
             fmt::format("not TOML: {}", error.description())}};
  }
  return Reader(file_name, config).read(parsed.table());
}

}  // namespace dualmesh::node
