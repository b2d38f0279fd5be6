#include "policies/admission.h"

#include <algorithm>
#include <boost/assert.hpp>
#include <cmath>

namespace dualmesh::policies {

std::uint32_t retry_after_s(double wait_s) {
  return static_cast<std::uint32_t>(std::clamp(std::ceil(wait_s), 1.0, 60.0));
}

AdmissionAnswer Admission::ask(const Asked& asked) const {
  using Kind = AdmissionAnswer::Kind;
  const double late_s = asked.ttft_s - asked.slo_s;
  if (settings_.max_waiting > 0 && asked.waiting >= settings_.max_waiting) {
    return {Kind::too_many_waiting, has_too_many(asked.client), retry_after_s(late_s)};
  }
  if (settings_.refuse_over_slos > 0 && asked.ttft_s > settings_.refuse_over_slos * asked.slo_s) {
    return {Kind::too_late, has_too_many(asked.client), retry_after_s(late_s)};
  }
  return {};
}

// More than an even share among those that wait. One that is alone is no worse than another.
bool Admission::has_too_many(std::uint64_t client) const {
  const auto found = waiting_.find(client);
  if (client == 0 || found == waiting_.end() || waiting_.size() < 2) return false;
  return std::uint64_t{found->second} * waiting_.size() > all_;
}

void Admission::entered(std::uint64_t client) {
  ++waiting_[client];
  ++all_;
}

void Admission::left(std::uint64_t client) {
  const auto found = waiting_.find(client);
  BOOST_ASSERT(found != waiting_.end() && all_ > 0);
  if (--found->second == 0) waiting_.erase(found);
  --all_;
}

}  // namespace dualmesh::policies
