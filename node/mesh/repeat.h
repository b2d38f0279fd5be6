// A loop that outlives its failures: a turn that fails is logged, and a second later the loop goes
// on. The loops of a node (pings, housekeeping, accepting, the mailbox) end only with the node.
//
// Threads: kj; the one whose timer is given.
#pragma once

#include <kj/async.h>
#include <kj/timer.h>
#include <spdlog/spdlog.h>

#include <functional>
#include <string>

namespace dualmesh::node {

inline kj::Promise<void> repeat(kj::Timer& timer, std::string what,
                                std::function<kj::Promise<void>()> turn) {
  auto once = kj::evalNow([&turn]() { return turn(); });
  return once
      .catch_([&timer, what](kj::Exception&& exception) {
        spdlog::error("mesh: {}: {}", what, exception.getDescription().cStr());
        return timer.afterDelay(1 * kj::SECONDS);
      })
      .then([&timer, what, turn = std::move(turn)]() mutable {
        return repeat(timer, std::move(what), std::move(turn));
      });
}

}  // namespace dualmesh::node
