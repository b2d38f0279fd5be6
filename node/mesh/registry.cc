#include "node/mesh/registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "net/destination.h"
#include "net/mesh_codec.h"
#include "node/kv/kv_endpoints.h"

namespace dualmesh::node {
namespace {

using policies::Lifecycle;

// Stamps below every clock, equal on all nodes: writer 0 at 1 or 2 ms after 1970.
constexpr std::uint64_t kConfigMs = 2;
constexpr std::uint64_t kDiscoveryMs = 1;

crdt::Stamp seed_stamp(std::uint64_t ms) { return {ms << 16, crdt::NodeId{}}; }

constexpr const char* kFull =
    "as many instances are in use as mesh.max_instances allows; remove one or raise it";

constexpr double kMaxWeight = 1000.0;

Lifecycle parse_lifecycle(std::string_view text) {
  if (text == "active") return Lifecycle::active;
  if (text == "draining") return Lifecycle::draining;
  return Lifecycle::removed;
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::string join_lines(std::vector<std::string> lines) {
  std::sort(lines.begin(), lines.end());
  lines.erase(std::unique(lines.begin(), lines.end()), lines.end());
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

double parse_weight(const std::string& text) {
  double weight = 1.0;
  const auto end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, weight);
  const bool good =
      parsed.ec == std::errc{} && parsed.ptr == end && weight > 0.0 && weight <= kMaxWeight;
  return good ? weight : 1.0;
}

// One row of the table into the record it belongs to.
struct RecordBuilder {
  InstanceRecord record;
  std::vector<std::string> learned;

  void take(InstanceField field, const std::string& value) {
    switch (field) {
      case InstanceField::address:
        record.address = value;
        return;
      case InstanceField::models:
        record.models = split_lines(value);
        return;
      case InstanceField::weight:
        record.weight = parse_weight(value);
        return;
      case InstanceField::lifecycle:
        record.lifecycle = parse_lifecycle(value);
        return;
      case InstanceField::source:
        record.source = value;
        return;
      case InstanceField::learned_models:
        learned = split_lines(value);
        return;
      case InstanceField::kv_events:
        record.kv_events = value;
        return;
    }
  }
  InstanceRecord finish() {
    if (record.models.empty()) record.models = std::move(learned);
    return std::move(record);
  }
};

net::Result<void> check(const SeedInstance& instance) {
  using net::CodecLimits;
  if (instance.name.empty() || instance.name.size() > CodecLimits::kNameBytes) {
    return net::Error{fmt::format("instance name must have 1 to {} characters, not {}",
                                  CodecLimits::kNameBytes, instance.name.size())};
  }
  net::HostPort address;
  if (!net::split_destination(instance.address, address)) {
    return net::Error{fmt::format("address of {} must be HOST:PORT, the port not 0, not '{}'",
                                  instance.name, instance.address)};
  }
  if (!(instance.weight > 0.0 && instance.weight <= kMaxWeight)) {
    return net::Error{fmt::format("weight of {} must be above 0 and at most {}, not {}",
                                  instance.name, kMaxWeight, instance.weight)};
  }
  if (join_lines(instance.models).size() > CodecLimits::kTextBytes) {
    return net::Error{fmt::format("the models of {} exceed {} characters", instance.name,
                                  CodecLimits::kTextBytes)};
  }
  if (instance.kv_events.size() > CodecLimits::kTextBytes) {
    return net::Error{fmt::format("kv_events of {} exceeds {} characters", instance.name,
                                  CodecLimits::kTextBytes)};
  }
  if (instance.kv_events.empty()) return {};
  if (const auto endpoints = parse_kv_endpoints(instance.kv_events); !endpoints) {
    return net::Error{fmt::format("kv_events of {}: {}", instance.name, endpoints.error().message)};
  }
  return {};
}

// No other instance in use is heard where this one is.
net::Result<void> check_heard_alone(const SeedInstance& instance,
                                    const std::vector<InstanceRecord>& others) {
  const auto endpoints = parse_kv_endpoints(instance.kv_events);
  if (!endpoints) return {};
  KvAddresses heard;
  for (const InstanceRecord& other : others) {
    if (other.name == instance.name || other.lifecycle == Lifecycle::removed) continue;
    if (const auto ends = parse_kv_endpoints(other.kv_events)) heard.add(other.name, *ends);
  }
  const auto clash = heard.add(instance.name, *endpoints);
  if (!clash) return {};
  return net::Error{fmt::format("kv_events of {}: {} already has the address {}; {}", instance.name,
                                clash->other, clash->address, clash->why)};
}

}  // namespace

const char* to_string(Lifecycle lifecycle) {
  switch (lifecycle) {
    case Lifecycle::active:
      return "active";
    case Lifecycle::draining:
      return "draining";
    case Lifecycle::removed:
      break;
  }
  return "removed";
}

void Registry::write(const std::string& name, InstanceField field, crdt::Stamp stamp,
                     std::string value) {
  state_.join_field({name, static_cast<std::uint8_t>(field)},
                    crdt::LastWriter<std::string>{stamp, std::move(value)});
}

const std::string* Registry::value(const std::string& name, InstanceField field) const {
  const auto* held = state_.registry().find({name, static_cast<std::uint8_t>(field)});
  return held == nullptr ? nullptr : &held->value;
}

void Registry::seed(const SeedInstance& instance, const char* source, std::uint64_t seed_ms) {
  if (!state_.has_room_for(instance.name)) {
    if (!told_full_) {
      spdlog::error("mesh: {} is left out, and others may be: {}", instance.name, kFull);
    }
    told_full_ = true;
    return;
  }
  const crdt::Stamp stamp = seed_stamp(seed_ms);
  write(instance.name, InstanceField::address, stamp, instance.address);
  if (!instance.models.empty()) {
    write(instance.name, InstanceField::models, stamp, join_lines(instance.models));
  }
  if (!instance.kv_events.empty()) {
    write(instance.name, InstanceField::kv_events, stamp, instance.kv_events);
  }
  write(instance.name, InstanceField::weight, stamp, fmt::format("{}", instance.weight));
  write(instance.name, InstanceField::lifecycle, stamp, "active");
  write(instance.name, InstanceField::source, stamp, source);
}

void Registry::configured(std::span<const SeedInstance> instances) {
  for (const SeedInstance& instance : instances) {
    const auto ours = [&](InstanceField field, std::string text) {
      configured_[{instance.name, static_cast<std::uint8_t>(field)}] = std::move(text);
    };
    ours(InstanceField::address, instance.address);
    ours(InstanceField::weight, fmt::format("{}", instance.weight));
    if (!instance.models.empty()) ours(InstanceField::models, join_lines(instance.models));
    if (!instance.kv_events.empty()) ours(InstanceField::kv_events, instance.kv_events);
    seed(instance, "config", kConfigMs);
  }
}

std::string Registry::lost_seed(const net::FieldKey& key) const {
  const auto ours = configured_.find(key);
  if (ours == configured_.end()) return {};
  const auto* held = state_.registry().find(key);
  if (held == nullptr || held->stamp != seed_stamp(kConfigMs) || held->value == ours->second) {
    return {};
  }
  const auto field = static_cast<InstanceField>(key.field);
  const char* what = field == InstanceField::address     ? "address"
                     : field == InstanceField::models    ? "models"
                     : field == InstanceField::kv_events ? "kv_events"
                                                         : "weight";
  return fmt::format(
      "the configurations of two nodes differ in the {} of instance {}: '{}' here, '{}' elsewhere, "
      "which the mesh now uses; make them equal, or say with `dualmeshctl instance add` what it is",
      what, key.instance, ours->second, held->value);
}

void Registry::discovered(std::span<const SeedInstance> instances) {
  std::set<std::string> known;
  for (const InstanceRecord& record : records()) known.insert(record.address);
  for (const SeedInstance& instance : instances) {
    if (!check(instance) || known.contains(instance.address)) continue;
    seed(instance, "dns", kDiscoveryMs);
  }
}

void Registry::models_found(const std::string& name, const std::vector<std::string>& models,
                            std::uint64_t wall_ms) {
  std::string learned = join_lines(models);
  if (learned.size() > net::CodecLimits::kTextBytes ||
      value(name, InstanceField::address) == nullptr) {
    return;
  }
  const std::string* known = value(name, InstanceField::learned_models);
  if (known != nullptr && *known == learned) return;
  write(name, InstanceField::learned_models, state_.stamp(wall_ms), std::move(learned));
}

net::Result<void> Registry::add(const SeedInstance& instance, std::uint64_t wall_ms) {
  if (auto good = check(instance); !good) return good;
  for (const InstanceRecord& other : records()) {
    if (other.address == instance.address && other.name != instance.name &&
        other.lifecycle != Lifecycle::removed) {
      return net::Error{fmt::format("{} already has the address {}", other.name, instance.address)};
    }
  }
  if (auto good = check_heard_alone(instance, records()); !good) return good;
  if (!state_.has_room_for(instance.name)) return net::Error{kFull};
  const crdt::Stamp stamp = state_.stamp(wall_ms);
  write(instance.name, InstanceField::address, stamp, instance.address);
  write(instance.name, InstanceField::models, stamp, join_lines(instance.models));
  write(instance.name, InstanceField::weight, stamp, fmt::format("{}", instance.weight));
  write(instance.name, InstanceField::kv_events, stamp, instance.kv_events);
  write(instance.name, InstanceField::source, stamp, "admin");
  write(instance.name, InstanceField::lifecycle, stamp, "active");
  return {};
}

net::Result<void> Registry::set_lifecycle(const std::string& name, Lifecycle lifecycle,
                                          std::uint64_t wall_ms) {
  if (value(name, InstanceField::address) == nullptr) {
    return net::Error{fmt::format("no instance is called '{}'", name)};
  }
  const std::string* now = value(name, InstanceField::lifecycle);
  const bool removed = now == nullptr || parse_lifecycle(*now) == Lifecycle::removed;
  if (removed && lifecycle != Lifecycle::removed) {
    return net::Error{fmt::format("{} was removed; add it again to use it", name)};
  }
  write(name, InstanceField::lifecycle, state_.stamp(wall_ms), to_string(lifecycle));
  return {};
}

std::vector<InstanceRecord> Registry::records() const {
  std::vector<InstanceRecord> out;
  RecordBuilder builder;
  auto flush = [&] {
    if (!builder.record.address.empty()) out.push_back(builder.finish());
    builder = RecordBuilder{};
  };
  state_.registry().for_each([&](const net::FieldKey& key, const auto& field) {
    if (key.instance != builder.record.name) {
      flush();
      builder.record.name = key.instance;
    }
    builder.take(static_cast<InstanceField>(key.field), field.value);
  });
  flush();
  std::set<std::string> taken;
  for (const InstanceRecord& record : out) {
    if (record.source != "dns") taken.insert(record.address);
  }
  for (InstanceRecord& record : out) {
    if (record.source == "dns" && taken.contains(record.address)) {
      record.lifecycle = Lifecycle::removed;
    }
  }
  return out;
}

std::optional<InstanceRecord> Registry::find(const std::string& name) const {
  for (InstanceRecord& record : records()) {
    if (record.name == name) return std::move(record);
  }
  return std::nullopt;
}

}  // namespace dualmesh::node
