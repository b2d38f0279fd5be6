#include "policies/outlier_detector.h"

#include <algorithm>
#include <cmath>

namespace dualmesh::policies {
namespace {

constexpr std::size_t kGood = 0;
constexpr std::size_t kFailed = 1;

}  // namespace

void OutlierDetector::watch(Slot slot) { watched_.try_emplace(slot, settings_.window); }

void OutlierDetector::forget(Slot slot) {
  const auto found = watched_.find(slot);
  if (found == watched_.end()) return;
  if (found->second.out) --out_;
  watched_.erase(found);
}

OutlierSign OutlierDetector::observe(Slot slot, Answered how, Time now) {
  const auto found = watched_.find(slot);
  if (found == watched_.end() || found->second.out) return OutlierSign::none;
  Watched& watched = found->second;
  watched.answers.add(how == Answered::well ? kGood : kFailed, now);
  watched.failures_in_a_row = how == Answered::not_well ? watched.failures_in_a_row + 1 : 0;
  if (how == Answered::well) return OutlierSign::none;
  if (settings_.failures_in_a_row > 0 && watched.failures_in_a_row >= settings_.failures_in_a_row) {
    return OutlierSign::failures_in_a_row;
  }
  return lags_behind(watched, now) ? OutlierSign::success_rate : OutlierSign::none;
}

// By the margin, and by more than chance: four standard deviations of the difference of two rates,
// were both the same.
bool OutlierDetector::lags_behind(const Watched& watched, Time now) const {
  if (settings_.rate_margin <= 0) return false;
  const auto own = watched.answers.sums(now);
  const std::uint64_t requests = own[kGood] + own[kFailed];
  if (requests < settings_.min_requests) return false;
  std::uint64_t others_good = 0;
  std::uint64_t others = 0;
  for (const auto& [slot, other] : watched_) {
    if (&other == &watched || other.out) continue;
    const auto sums = other.answers.sums(now);
    others_good += sums[kGood];
    others += sums[kGood] + sums[kFailed];
  }
  if (others < settings_.min_requests) return false;
  const auto n = static_cast<double>(requests);
  const auto m = static_cast<double>(others);
  const double expected = static_cast<double>(others_good) / m;
  const double rate = static_cast<double>(own[kGood]) / n;
  const double common = static_cast<double>(others_good + own[kGood]) / (n + m);
  const double chance = 4 * std::sqrt(common * (1 - common) * (1 / n + 1 / m));
  return rate < expected - std::max(settings_.rate_margin, chance);
}

std::optional<Duration> OutlierDetector::eject(Slot slot, Time now) {
  const auto found = watched_.find(slot);
  if (found == watched_.end()) return std::nullopt;
  Watched& watched = found->second;
  if (!watched.out) {
    const double most = settings_.max_share * static_cast<double>(watched_.size());
    if (out_ > 0 && static_cast<double>(out_ + 1) > most) return std::nullopt;
    if (settings_.forgive_after.count() > 0) {
      const std::int64_t forgiven =
          std::max<Duration>(now - watched.well_since, Duration{}) / settings_.forgive_after;
      watched.ejections -=
          static_cast<std::uint32_t>(std::min<std::int64_t>(forgiven, watched.ejections));
    }
    watched.out = true;
    ++out_;
  }
  const auto count = static_cast<std::int64_t>(++watched.ejections);
  if (settings_.base.count() > 0 && count > settings_.most / settings_.base) return settings_.most;
  return std::min(settings_.base * count, settings_.most);
}

void OutlierDetector::readmit(Slot slot, Time now) {
  const auto found = watched_.find(slot);
  if (found == watched_.end() || !found->second.out) return;
  Watched& watched = found->second;
  watched.out = false;
  watched.failures_in_a_row = 0;
  watched.answers.clear();
  watched.well_since = now;
  --out_;
}

bool OutlierDetector::is_out(Slot slot) const {
  const auto found = watched_.find(slot);
  return found != watched_.end() && found->second.out;
}

}  // namespace dualmesh::policies
