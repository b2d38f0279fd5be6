// One request's attempts at its instances: sent, retried elsewhere, given up.
#include <spdlog/spdlog.h>

#include "node/router/api_error.h"
#include "node/router/retries.h"
#include "node/router/routed_request.h"
#include "node/router/upstream_heads.h"

namespace dualmesh::node {
namespace {

void count(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

void RoutedRequest::relay_to(const std::string& destination) {
  const FlowSettings& settings = home_.shared.settings;
  net::ClientTimeouts timeouts = settings.upstream_timeouts;
  if (away_) timeouts.first_byte += settings.queue_timeout;  // it may have to wait there as well
  net::FieldChanges changes = away_ ? peer_changes(*incoming_, settings)
                                     : instance_changes(*incoming_, settings);
  if (scheduled_) changes.dropped.push_back("Accept-Encoding");  // we read the answer ourselves
  std::string rank;
  if (rank_place_.rank() && !ranks_.wanted) {
    rank = std::to_string(*rank_place_.rank());
    changes.set.push_back({kRankHeader, rank});
  }
  std::string left_ms;
  if (deadline_) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(*deadline_ - home_.shared.scheduler.now());
    left_ms = std::to_string(std::max<std::int64_t>(left.count(), 1));
    changes.set.push_back({kTimeoutHeader, left_ms});
  }
  answer_begun_ = false;
  if (!away_) era_ = home_.shared.health.sent(slot_);
  const net::HttpRequest& request = exchange_->request();
  const bool may_repeat = scheduled_ || is_safe(request);
  // Who closes first keeps the port for a minute: let it be the instance.
  if (!may_repeat) changes.set.push_back({"Connection", "close"});
  std::string head;
  net::append_request_head(head, request, destination, request.body.size(), changes);
  // The relay holds the request weakly: once it has ended it has nothing left to do.
  exchange_->relay(home_.client, destination, std::move(head), timeouts, weak_from_this(),
                   may_repeat ? net::Sending::may_repeat : net::Sending::once);
}

// Generating again harms nobody; what else a POST does at an instance is not ours to repeat.
bool RoutedRequest::may_retry(net::ClientError error) const {
  if (away_) return true;
  return retries_ < home_.shared.settings.max_retries &&
         (scheduled_ || is_safe(exchange_->request()) || is_surely_unsent(error));
}

bool RoutedRequest::somebody_is_left() const {
  const FlowShared& shared = home_.shared;
  if (scheduled_) {
    return shared.scheduler.read(
        [&](const policies::Scheduler& scheduler) { return scheduler.can_retry(id_); });
  }
  return shared.pass_through.least_loaded(shared.scheduler, *shared.scheduler.view(), model_,
                                          tried_) != policies::kNoSlot;
}

// Asked once for an attempt: what is granted is spent.
bool RoutedRequest::takes_retry(net::ClientError error) {
  if (retry_granted_ || away_) return true;
  if (!may_retry(error) || !somebody_is_left()) return false;
  retry_granted_ = home_.retry_budget.take(home_.shared.scheduler.now());
  if (!retry_granted_) count(home_.shared.stats.retries_refused);
  return retry_granted_;
}

bool RoutedRequest::relay_head(net::HttpResponse& head) {
  if (state_ != State::relaying) return false;
  status_ = head.status;
  if (away_) return peers_head_arrived(head);
  if (is_worth_a_retry(head.status) && takes_retry(net::ClientError::none)) {
    failures_.answered(head.status, head.headers);
    return false;
  }
  head.headers.set(kRequestIdHeader, incoming_->id.text());
  head.headers.set("x-dualmesh-node", home_.shared.settings.node_name);
  head.headers.set("x-dualmesh-instance", instance_name_);
  head.headers.set("x-dualmesh-reason",
                   scheduled_ ? policies::to_string(reason_) : kPassedThrough);
  if (scheduled_ && head.status < 300) answer_begins(head);
  return true;
}

// An answer that names no instance is the other node's own: it has not placed the request, or it
// has given up on it. Only that its instance was late is an end here as well.
bool RoutedRequest::peers_head_arrived(net::HttpResponse& head) {
  const std::string_view instance = head.headers.find("x-dualmesh-instance");
  if (is_worth_a_retry(head.status) || (instance.empty() && head.status != 504)) return false;
  if (AccessRecord* record = incoming_->record()) record->instance = instance;
  head.headers.set(kRequestIdHeader, incoming_->id.text());
  head.headers.set("x-dualmesh-node", home_.shared.settings.node_name);
  head.headers.set("x-dualmesh-reason", policies::to_string(reason_));
  head.headers.set("x-dualmesh-handed-to", instance_name_);
  if (head.status < 300) answer_begins(head);
  return true;
}

void RoutedRequest::answer_begins(const net::HttpResponse& head) {
  watcher_.emplace(net::is_event_stream(head.headers));
  if (scheduled_->tokens.was_refused()) {
    scheduled_->tokens.was_taken(home_.shared.scheduler.now());
  }
}

void RoutedRequest::relay_body(std::string_view piece) {
  if (state_ != State::relaying) return;
  relayed_bytes_ += piece.size();
  if (!away_ && !answer_begun_ && status_ < 500) {
    answer_begun_ = true;
    home_.shared.health.answered(slot_, era_);
  }
  if (!watcher_) return;
  const bool first = watcher_->feed(piece);
  // A whole answer arrives long after its first token was made, so it says nothing about it.
  if (!first || !scheduled_->streamed) return;
  const double ttft_s = policies::to_seconds(home_.shared.scheduler.now() - began_);
  home_.shared.stats.ttft.observe(ttft_s);
  if (AccessRecord* record = incoming_->record()) record->ttft_s = ttft_s;
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time at, policies::Effects& effects) {
        scheduler.first_token(id_, at, effects);
      });
}

void RoutedRequest::relay_done(const net::RelayResult& result) {
  if (state_ != State::relaying) return;
  if (!away_) judge_instance(result);
  switch (result.end) {
    case net::RelayResult::End::complete:
      write_down(RequestEnd::complete, result.body_bytes);
      return end(status_ < 500 ? How::finished : How::failed);
    case net::RelayResult::End::client_gone:
      return client_gone(result.body_bytes);
    case net::RelayResult::End::broken:
      count(home_.shared.stats.upstream_broken);
      spdlog::warn("{} {} broke off its answer after {} bytes: {}", away_ ? "node" : "instance",
                   instance_name_, result.body_bytes, net::to_string(result.error));
      write_down(RequestEnd::upstream_failed, result.body_bytes);
      return end(How::failed);
    case net::RelayResult::End::not_started:
      return attempt_failed(result);
  }
}

void RoutedRequest::judge_instance(const net::RelayResult& result) {
  using policies::Answered;
  if (result.end == net::RelayResult::End::client_gone) return;
  InstanceHealth& health = home_.shared.health;
  if (result.error != net::ClientError::none) {
    if (!blames_instance(result.error)) return;
    return health.ended(slot_, era_, Answered::not_well, net::to_string(result.error));
  }
  if (status_ < 500) {
    if (!answer_begun_) health.answered(slot_, era_);  // one without a body
    return health.ended(slot_, era_, Answered::well, {});
  }
  const bool gateway = status_ >= 502 && status_ <= 504;
  health.ended(slot_, era_, gateway ? Answered::not_well : Answered::error,
               "status " + std::to_string(status_));
}

void RoutedRequest::attempt_failed(const net::RelayResult& result) {
  FlowShared& shared = home_.shared;
  count(shared.stats.upstream_not_started);
  spdlog::info("{} {} failed before its answer began: {}", away_ ? "node" : "instance",
               instance_name_,
               result.error == net::ClientError::none ? std::to_string(status_)
                                                      : net::to_string(result.error));
  // First the health, so that the scheduler does not choose the same one again.
  if (!away_ && blames_instance(result.error)) shared.instance_failed(slot_, result.error);
  if (!away_ && result.error != net::ClientError::none) failures_.failed(result.error);
  if (result.error != net::ClientError::timeout && takes_retry(result.error)) {
    retry();
  } else {
    give_up(result);
  }
}

void RoutedRequest::retry() {
  retry_granted_ = false;
  leave_instance();
  watcher_.reset();
  state_ = State::waiting;
  const FlowSettings& settings = home_.shared.settings;
  if (std::exchange(away_, false)) {
    count(home_.shared.stats.handed_back);
    return place_again();
  }
  ++retries_;
  count(home_.shared.stats.retries);
  constexpr std::chrono::seconds kLongestPause(1);
  const auto pause =
      policies::retry_pause(retries_, settings.retry_pause, kLongestPause,
                            std::uniform_real_distribution<double>(0.0, 1.0)(home_.random));
  if (pause.count() == 0) return place_again();
  timer_ = home_.thread.after(pause, [weak = weak_from_this()] {
    const auto request = weak.lock();
    if (request && request->state_ == State::waiting) request->place_again();
  });
}

// Until now the scheduler has held its place where it failed.
void RoutedRequest::place_again() {
  timer_.reset();
  if (!scheduled_) return pass_through();
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        scheduler.failed(id_, true, now, effects);
      });
  limit_wait();
}

void RoutedRequest::give_up(const net::RelayResult& result) {
  if (result.error == net::ClientError::local) {
    return end_with(How::cancelled, unavailable("This node is out of sockets.", "overloaded"));
  }
  if (away_) failures_.failed(result.error);
  end_with(How::failed, failures_.answer());
}

}  // namespace dualmesh::node
