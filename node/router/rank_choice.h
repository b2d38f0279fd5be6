// Ranks: which data-parallel rank of an instance a request goes to, and what it finds cached there.
//
// Each rank has a cache of its own, and the engine sends a request to whichever has least to do,
// whatever that rank has cached. So what is expected of an instance with several ranks is the mean
// over them, unless the request names a rank: by the client's header, or by ours, where the index
// knows for certain that some rank has more of the prompt than another.
//
// Ours is set as long as that rank then has no more than a quarter beyond its even share of what
// this node has at the instance, or one: a prefix that all prompts share draws no more to its rank.
// What is not sent to a rank is balanced by the engine, which sees the ranks' whole load. An engine
// that does not heed the header shows in what it says was cached, and is then hardly ever sent one.
//
// Threads: RankLoad from any; the rest are values.
// Source: vLLM's X-data-parallel-rank; the bound is that of consistent hashing with bounded loads
// (Mirrokni et al., arXiv 1608.01350).
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "policies/decision.h"
#include "policies/fleet_view.h"

namespace dualmesh::node {

inline constexpr std::string_view kRankHeader = "x-data-parallel-rank";

// The rank that a client's header names; of nonsense one that nobody has.
std::uint32_t read_rank(std::string_view header);

// Of one instance with several ranks.
struct RankChoice {
  policies::Slot slot = policies::kNoSlot;
  policies::InstanceId instance = 0;  // another one may come to have the slot
  std::uint32_t ranks = 1;
  std::optional<std::uint32_t> rank;  // where it should go; nothing: where the engine likes
  // What is expected where the engine likes.
  std::uint32_t anywhere_tokens = 0;
  policies::HitSource anywhere_source = policies::HitSource::unknown;
};

// The choices of one request; instances of one rank are left out.
struct RankChoices {
  std::optional<std::uint32_t> wanted;  // by the client
  std::vector<RankChoice> of_instances;

  const RankChoice* at(policies::Slot slot) const;
};

// What this node has at instances with several ranks at the moment.
class RankLoad {
 public:
  // Of these ranks the one with room that fewest requests have been sent to.
  std::optional<std::uint32_t> pick(policies::InstanceId instance, std::uint32_t ranks,
                                    std::span<const std::uint32_t> among) const;
  // False, and then it goes where the engine likes: the rank has no room any more.
  bool enter(const RankChoice& choice, bool wanted);
  void leave(policies::InstanceId instance, std::optional<std::uint32_t> rank);
  // A request that was sent to a rank by name has found what was expected there, or not.
  void turned_out(policies::InstanceId instance, bool as_expected);
  // Whether the engine heeds the header is open again: another may be there now, or none.
  void forget(policies::InstanceId instance);
  void forget_all_but(const policies::FleetView& view);
  std::size_t size() const;  // instances with requests

 private:
  struct OfInstance {
    std::uint32_t requests = 0;
    std::vector<std::uint32_t> sent;  // of them to ranks by name; grows as needed
    std::uint32_t at(std::uint32_t rank) const { return rank < sent.size() ? sent[rank] : 0; }
    bool has_room(std::uint32_t rank, std::uint32_t ranks) const;
  };

  // Of the last requests by name; old ones fade.
  struct Obedience {
    std::uint32_t heeded = 0, ignored = 0;
    std::uint32_t not_named = 0;  // requests in a row, while it is not trusted
    bool is_trusted() const { return ignored < 8 || ignored < 2 * heeded; }
  };

  mutable std::mutex mutex_;
  // Guarded, as is the next.
  boost::unordered_flat_map<policies::InstanceId, OfInstance> instances_;
  boost::unordered_flat_map<policies::InstanceId, Obedience> obedience_;
};

// A request's place at an instance, given back at its end.
class RankPlace {
 public:
  RankPlace() = default;
  RankPlace(const RankPlace&) = delete;
  RankPlace& operator=(const RankPlace&) = delete;
  ~RankPlace() { leave(); }

  // False: it should have gone to a rank that has no room any more.
  bool enter(RankLoad& load, const RankChoice& choice, bool wanted);
  void leave();
  std::optional<std::uint32_t> rank() const { return rank_; }

 private:
  RankLoad* load_ = nullptr;
  policies::InstanceId instance_ = 0;
  std::optional<std::uint32_t> rank_;
};

}  // namespace dualmesh::node
