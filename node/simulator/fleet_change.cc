#include "node/simulator/fleet_change.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>
#include <vector>

namespace dualmesh::node {
namespace {

using What = FleetChange::What;

constexpr std::array<std::pair<std::string_view, What>, 6> kNames{
    {{"join", What::joins},
     {"drain", What::drains},
     {"fail", What::fails},
     {"return", What::returns},
     {"cut", What::is_cut_off},
     {"fail-router", What::router_fails}}};

template <class Number>
bool read(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

enum class State : std::uint8_t { absent, serving, draining, down };

// What an instance must be for a change, and what it is after it.
std::string step(What what, State& state) {
  const auto must = [&](State wanted, State after, const char* otherwise) -> std::string {
    if (state != wanted) return otherwise;
    state = after;
    return {};
  };
  switch (what) {
    case What::joins:
      return must(State::absent, State::serving, "joins twice");
    case What::drains:
      return must(State::serving, State::draining, "is not there to drain");
    case What::fails:
      return must(State::serving, State::down, "is not there to fail");
    case What::returns:
      return must(State::down, State::serving, "has not failed, so it cannot return");
    case What::is_cut_off:
    case What::router_fails:
      break;
  }
  return {};
}

// NUMBER, and before it for a cut ROUTER-.
bool read_numbers(std::string_view text, FleetChange& change) {
  if (change.what == What::is_cut_off) {
    const std::size_t dash = text.find('-');
    if (dash == std::string_view::npos || !read(text.substr(0, dash), change.router)) return false;
    text.remove_prefix(dash + 1);
  }
  return read(text, change.index);
}

}  // namespace

net::Result<FleetChange> parse_change(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::size_t at = text.find('@');
  const auto known = std::find_if(kNames.begin(), kNames.end(), [&](const auto& one) {
    return one.first == text.substr(0, colon);
  });
  const net::Error wrong{
      fmt::format("'{}' is no change; allowed: join, drain, fail, return or fail-router, :NUMBER, "
                  "@SECONDS, or cut:ROUTER-INSTANCE@SECONDS",
                  text)};
  FleetChange change;
  double seconds = 0;
  if (colon == std::string_view::npos || at == std::string_view::npos || at < colon ||
      known == kNames.end()) {
    return wrong;
  }
  change.what = known->second;
  if (!read_numbers(text.substr(colon + 1, at - colon - 1), change) ||
      !read(text.substr(at + 1), seconds) || !(seconds >= 0 && seconds <= 1e7)) {
    return wrong;
  }
  change.at = policies::from_seconds(seconds);
  return change;
}

std::string check_changes(std::span<const FleetChange> changes, std::size_t instances,
                          std::size_t routers) {
  std::vector<State> states(instances, State::serving);
  std::vector<bool> failed(routers);
  std::set<std::pair<std::uint32_t, std::uint32_t>> cut;
  for (const FleetChange& change : changes) {
    if (change.what == What::joins && change.index < instances) {
      states[change.index] = State::absent;
    }
  }
  if (std::count(states.begin(), states.end(), State::absent) ==
      static_cast<std::ptrdiff_t>(instances)) {
    return "at least one instance must be there from the start";
  }
  for (const FleetChange& change : changes) {
    const bool of_router = change.what == What::router_fails;
    const std::size_t size = of_router ? routers : instances;
    const char* kind = of_router ? "router" : "instance";
    if (change.index >= size) {
      return fmt::format("there is no {} {}; allowed: 0 to {}", kind, change.index, size - 1);
    }
    if (change.what == What::is_cut_off) {
      if (change.router >= routers) {
        return fmt::format("there is no router {}; allowed: 0 to {}", change.router, routers - 1);
      }
      if (!cut.emplace(change.router, change.index).second) {
        return fmt::format("router {} is cut off from instance {} twice", change.router,
                           change.index);
      }
    } else if (of_router) {
      if (failed[change.index]) return fmt::format("router {} fails twice", change.index);
      failed[change.index] = true;
    } else if (const std::string why = step(change.what, states[change.index]); !why.empty()) {
      return fmt::format("instance {} {}", change.index, why);
    }
  }
  if (std::count(failed.begin(), failed.end(), false) == 0) return "one router must be left";
  return {};
}

}  // namespace dualmesh::node
