// FleetChange: what happens to a simulated fleet while it runs.
//
//   joins    a router's administrator adds the instance; the others hear of it as of all else
//   drains   likewise: it gets no new requests and finishes what it has
//   fails    its cache and all it has are lost, at once; requests without a first token are tried
//            elsewhere, the others have failed. Routers notice when a connection breaks or is
//            refused, or a second later by their probes
//   returns  empty; a second later the probes say so
//   is_cut_off  a router does not reach the instance any more, nor the instance it: what is between
//            them breaks, and that router notices as above
//   router_fails  its clients' requests have failed; the others call it dead three seconds later
//
// Threads: values.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "net/error.h"
#include "policies/time.h"

namespace dualmesh::node {

struct FleetChange {
  enum class What : std::uint8_t { joins, drains, fails, returns, is_cut_off, router_fails };
  What what = What::joins;
  std::uint32_t index = 0;  // of the instance or router
  policies::Time at{};
  std::uint32_t router = 0;  // that the instance is cut off from

  bool operator==(const FleetChange&) const = default;
};

// `join:6@120` `drain:2@300.5` `fail:3@200` `return:3@260` `fail-router:1@400` `cut:0-3@100`,
// router before instance: seconds at last.
net::Result<FleetChange> parse_change(std::string_view text);
// Empty, or why these changes cannot happen, in order of time, to so many instances and routers.
std::string check_changes(std::span<const FleetChange> changes, std::size_t instances,
                          std::size_t routers);

}  // namespace dualmesh::node
