#include "node/router/rank_choice.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <charconv>

#include "net/error.h"

namespace dualmesh::node {

std::uint32_t read_rank(std::string_view header) {
  std::uint32_t rank = 0;
  const char* const end = header.data() + header.size();
  const auto [read, error] = std::from_chars(header.data(), end, rank);
  return error == std::errc() && read == end ? rank : UINT32_MAX;
}

const RankChoice* RankChoices::at(policies::Slot slot) const {
  const auto found = std::find_if(of_instances.begin(), of_instances.end(),
                                  [&](const RankChoice& choice) { return choice.slot == slot; });
  return found == of_instances.end() ? nullptr : &*found;
}

// Of the requests with the one to come, 5/4 of the even share, and one in any case.
bool RankLoad::OfInstance::has_room(std::uint32_t rank, std::uint32_t ranks) const {
  const std::uint64_t share = std::uint64_t{5} * (requests + 1) / (std::uint64_t{4} * ranks);
  return at(rank) < std::max<std::uint64_t>(share, 1);
}

std::optional<std::uint32_t> RankLoad::pick(policies::InstanceId instance, std::uint32_t ranks,
                                            std::span<const std::uint32_t> among) const {
  constexpr std::uint32_t kTriedAgain = 64;
  const std::lock_guard lock(mutex_);
  const auto known = obedience_.find(instance);
  const bool is_trusted = known == obedience_.end() || known->second.is_trusted();
  if (!is_trusted && known->second.not_named + 1 < kTriedAgain) return std::nullopt;
  const auto found = instances_.find(instance);
  const OfInstance nothing;
  const OfInstance& there = found == instances_.end() ? nothing : found->second;
  std::optional<std::uint32_t> best;
  for (const std::uint32_t rank : among) {
    if (!there.has_room(rank, ranks)) continue;
    if (!best || there.at(rank) < there.at(*best)) best = rank;
  }
  return best;
}

bool RankLoad::enter(const RankChoice& choice, bool wanted) {
  const std::lock_guard lock(mutex_);
  OfInstance& instance = instances_[choice.instance];
  const bool named = choice.rank && (wanted || instance.has_room(*choice.rank, choice.ranks));
  ++instance.requests;
  // Requests that come here count, not questions about them.
  if (const auto known = obedience_.find(choice.instance); known != obedience_.end()) {
    const bool tried = (named && !wanted) || known->second.is_trusted();
    known->second.not_named = tried ? 0 : known->second.not_named + 1;
  }
  if (!named) return !choice.rank;
  if (instance.sent.size() <= *choice.rank) instance.sent.resize(*choice.rank + 1);
  ++instance.sent[*choice.rank];
  return true;
}

void RankLoad::leave(policies::InstanceId instance, std::optional<std::uint32_t> rank) {
  const std::lock_guard lock(mutex_);
  const auto found = instances_.find(instance);
  DUALMESH_CHECK(found != instances_.end(), "nothing is at instance {:x}", instance);
  if (rank) --found->second.sent[*rank];
  if (--found->second.requests == 0) instances_.erase(found);
}

void RankLoad::turned_out(policies::InstanceId instance, bool as_expected) {
  constexpr std::uint32_t kMost = 64;
  const std::lock_guard lock(mutex_);
  Obedience& obedience = obedience_[instance];
  ++(as_expected ? obedience.heeded : obedience.ignored);
  if (obedience.heeded + obedience.ignored < kMost) return;
  obedience.heeded /= 2;
  obedience.ignored /= 2;
}

void RankLoad::forget(policies::InstanceId instance) {
  const std::lock_guard lock(mutex_);
  obedience_.erase(instance);
}

void RankLoad::forget_all_but(const policies::FleetView& view) {
  const std::lock_guard lock(mutex_);
  if (obedience_.empty()) return;
  boost::unordered_flat_set<policies::InstanceId> there;
  for (const policies::InstanceView& instance : view.instances) {
    if (instance.slot == policies::kNoSlot || instance.lifecycle == policies::Lifecycle::removed) {
      continue;
    }
    there.insert(instance.id);
  }
  boost::unordered::erase_if(obedience_, [&](const auto& of) { return !there.contains(of.first); });
}

std::size_t RankLoad::size() const {
  const std::lock_guard lock(mutex_);
  return instances_.size();
}

bool RankPlace::enter(RankLoad& load, const RankChoice& choice, bool wanted) {
  leave();
  const bool had_room = load.enter(choice, wanted);
  load_ = &load;
  instance_ = choice.instance;
  if (had_room) rank_ = choice.rank;
  return had_room;
}

void RankPlace::leave() {
  if (load_ == nullptr) return;
  load_->leave(instance_, rank_);
  load_ = nullptr;
  rank_.reset();
}

}  // namespace dualmesh::node
