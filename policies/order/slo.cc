#include "policies/order/slo.h"

#include <algorithm>
#include <boost/container/small_vector.hpp>
#include <limits>

namespace dualmesh::policies {

namespace {

constexpr std::size_t kElsewhere = std::numeric_limits<std::size_t>::max();
constexpr std::size_t kLateTold = 2;

struct Job {
  std::size_t place;  // in our queue, or kElsewhere
  std::size_t turn;   // in the order of due times
  double prefill_s;
  double slack_s;  // until it is due, from when a prefill could begin
};

constexpr auto shorter = [](const Job& a, const Job& b) { return a.prefill_s < b.prefill_s; };
constexpr auto earlier = [](const Job& a, const Job& b) { return a.turn < b.turn; };

using Jobs = boost::container::small_vector<Job, 64>;

// The first of `jobs`, which are by due time, and the first of ours among them.
QueueOrder::Next first_of(const Jobs& jobs) {
  for (const Job& job : jobs) {
    if (job.place != kElsewhere) return {job.place, &job == &jobs.front()};
  }
  return {kElsewhere, false};
}

std::int32_t to_ms(double seconds) {
  constexpr double kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::clamp(seconds * 1000, -kMost, kMost));
}

}  // namespace

struct Slo::Plan {
  Jobs in_time;  // by due time, as are the late
  Jobs late;
};

Slo::Slo(const ParameterValues& values)
    : wait_bound_(from_seconds(values[0])),
      margin_s_(values[1]),
      lead_(from_seconds(values[2] / 1000)),
      batch_tokens_(values[3]),
      batch_per_decoding_(values[4]),
      batch_memory_(values[5]) {}

std::uint64_t Slo::batch_tokens(const OrderContext& context) const {
  const Fleet& fleet = context.fleet;
  const double room = batch_memory_ * static_cast<double>(fleet.settings().instance_cache_tokens) -
                      fleet.decoding_uncached_tokens(context.slot);
  const double most =
      std::min({batch_tokens_, room, batch_per_decoding_ * fleet.decoding_requests(context.slot)});
  return static_cast<std::uint64_t>(std::max(most, 0.0));
}

Slo::Plan Slo::plan(const RequestQueue& queue, const std::vector<Waiting>& others,
                    const OrderContext& context) const {
  const double s_per_token = context.fleet.prefill_s_per_token(context.slot);
  const Duration slo = from_seconds(context.fleet.view().settings.slo_ttft_s);
  Plan plan;
  Jobs& in_time = plan.in_time;  // a heap meanwhile, longest first
  double busy_s = 0;
  std::size_t turn = 0;
  const auto consider = [&](std::size_t place, Time due, std::uint32_t tokens) {
    const Job job{place, turn++, tokens * s_per_token, to_seconds(due - context.begin)};
    if (job.prefill_s > job.slack_s - margin_s_) return plan.late.push_back(job);
    in_time.push_back(job);
    std::push_heap(in_time.begin(), in_time.end(), shorter);
    busy_s += job.prefill_s;
    if (busy_s <= job.slack_s - margin_s_) return;
    std::pop_heap(in_time.begin(), in_time.end(), shorter);
    busy_s -= in_time.back().prefill_s;
    plan.late.push_back(in_time.back());
    in_time.pop_back();
  };
  // Ours stand by arrival, which with one SLO for all is by due time; so do the others.
  auto other = others.begin();
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const Time due = queue[i].key.arrived + slo;
    for (; other != others.end() && other->due < due; ++other) {
      consider(kElsewhere, other->due, other->tokens);
    }
    consider(i, due, queue[i].tokens);
  }
  for (; other != others.end(); ++other) consider(kElsewhere, other->due, other->tokens);
  std::sort(in_time.begin(), in_time.end(), earlier);
  std::sort(plan.late.begin(), plan.late.end(), earlier);
  return plan;
}

QueueOrder::Next Slo::next(const RequestQueue& queue, const OrderContext& context) const {
  const Plan all = plan(queue, context.fleet.others_waiting(context.slot), context);

  // The latest moment at which the first of the late ones may begin, so that all of them are served
  // within their bound.
  const double bound_s =
      to_seconds(wait_bound_) - context.fleet.view().settings.slo_ttft_s;  // beyond the due time
  double begin_s = std::numeric_limits<double>::max();
  for (auto job = all.late.rbegin(); job != all.late.rend(); ++job) {
    begin_s = std::min(begin_s, job->slack_s + bound_s) - job->prefill_s;
  }
  // Asked of all that wait, wherever, as every node must come to the same answer: or a late one
  // would wait for ever for nodes that always have somebody in time.
  const bool late_first = all.in_time.empty() || begin_s < all.in_time.front().prefill_s;
  const Next ours = first_of(late_first ? all.late : all.in_time);
  if (ours.place != kElsewhere) return ours;
  return {first_of(late_first ? all.in_time : all.late).place, false};
}

void Slo::tell(const RequestQueue& queue, const OrderContext& context,
               WaitingReports& reports) const {
  const Plan own = plan(queue, {}, context);
  const double until_s = to_seconds(context.begin - context.now);
  const std::size_t late = std::max(std::min(own.late.size(), kLateTold),
                                    kWaitingTold - std::min(own.in_time.size(), kWaitingTold));
  const auto add = [&](const Jobs& jobs, std::size_t most) {
    for (const Job& job : jobs) {
      if (most-- == 0) return;
      reports.push_back({to_ms(job.slack_s + until_s), queue[job.place].tokens});
    }
  };
  add(own.late, std::min(late, own.late.size()));
  add(own.in_time, kWaitingTold - reports.size());
}

}  // namespace dualmesh::policies
