#include "node/router/routed_request.h"

#include <spdlog/spdlog.h>

#include "node/router/api_error.h"

namespace dualmesh::node {
namespace {

void count(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

bool is_worth_a_retry(int status) { return status == 502 || status == 503; }

bool is_event_stream(const net::Headers& headers) {
  constexpr std::string_view kType = "text/event-stream";
  return net::equals_ignoring_case(headers.find("Content-Type").substr(0, kType.size()), kType);
}

net::HttpRequest make_upstream_request(const net::HttpRequest& request,
                                       const FlowSettings& settings) {
  net::HttpRequest upstream = request;
  upstream.headers.remove("Host");  // the instance's own, set by the client
  if (!settings.upstream_api_key.empty()) {
    upstream.headers.set("Authorization", "Bearer " + settings.upstream_api_key);
  } else if (settings.drop_client_key) {
    upstream.headers.remove("Authorization");
  }
  return upstream;
}

}  // namespace

RoutedRequest::RoutedRequest(FlowThread& home, std::shared_ptr<net::Exchange> exchange,
                             policies::RequestId id, std::string model,
                             std::optional<Scheduled> scheduled)
    : home_(home),
      exchange_(std::move(exchange)),
      id_(id),
      model_(std::move(model)),
      scheduled_(std::move(scheduled)) {
  count(home_.shared.stats.live);
}

RoutedRequest::~RoutedRequest() { home_.shared.stats.live.fetch_sub(1, std::memory_order_relaxed); }

void RoutedRequest::start() {
  const auto self = shared_from_this();
  began_ = home_.shared.scheduler.now();
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto request = weak.lock()) request->client_gone();
  });
  if (!scheduled_) return pass_through();
  blocks_ = scheduled_->arrival.chain.blocks;
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        scheduler.submit(std::move(scheduled_->arrival), now, effects);
      });
  limit_wait();
}

void RoutedRequest::limit_wait() {
  if (state_ != State::waiting) return;  // dispatched or rejected inline
  timer_ = home_.thread.after(home_.shared.settings.queue_timeout, [weak = weak_from_this()] {
    if (const auto request = weak.lock()) request->queue_timed_out();
  });
}

void RoutedRequest::placed(policies::Slot slot) {
  if (state_ == State::ended) return;
  if (home_.shared.residency.placed_here(slot, blocks_, home_.shared.scheduler.now())) {
    home_.shared.placements_changed();
  }
}

void RoutedRequest::dispatched(const Delivery& dispatch, const ViewPointer& view) {
  if (state_ != State::waiting) return;
  if (home_.shared.aborting.load()) return abort();
  timer_.reset();
  state_ = State::relaying;
  slot_ = dispatch.slot;
  reason_ = dispatch.reason;
  DUALMESH_CHECK(slot_ < view->instances.size(), "slot {} of {}", slot_, view->instances.size());
  instance_name_ = view->instances[slot_].name;
  if (scheduled_ && scheduled_->generates && !scheduled_->streamed) {
    presume_prefill(dispatch.prefill_s);
  }
  relay_to(view->instances[slot_].address);
}

void RoutedRequest::presume_prefill(double prefill_s) {
  timer_ = home_.thread.after(policies::from_seconds(prefill_s), [weak = weak_from_this()] {
    const auto request = weak.lock();
    if (!request || request->state_ != State::relaying) return;
    request->home_.shared.scheduler.enter(
        [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
          scheduler.prefill_presumed(request->id_, now, effects);
        });
  });
}

void RoutedRequest::rejected(policies::Rejected why) {
  if (state_ == State::ended) return;
  if (why == policies::Rejected::unknown_model) {
    count(home_.shared.stats.unknown_models);
    return end_with(How::rejected, unknown_model(model_));
  }
  count(home_.shared.stats.no_instance);
  end_with(How::rejected,
           unavailable("No instance of the model `" + model_ + "` can be reached.", "no_instance"));
}

void RoutedRequest::abort() {
  if (state_ == State::ended) return;
  count(home_.shared.stats.aborted);
  if (state_ == State::waiting) {
    return end_with(How::cancelled, unavailable("This node is shutting down.", "draining"));
  }
  const auto exchange = exchange_;
  end(How::cancelled);
  exchange->abort();
}

void RoutedRequest::pass_through() {
  FlowShared& shared = home_.shared;
  const ViewPointer view = shared.scheduler.view();
  if (!model_.empty() && !view->models.contains(model_)) {
    count(shared.stats.unknown_models);
    return end_with(How::rejected, unknown_model(model_));
  }
  const policies::Slot slot =
      shared.pass_through.least_loaded(shared.scheduler, *view, model_, tried_);
  if (slot == policies::kNoSlot) {
    count(shared.stats.no_instance);
    return end_with(How::rejected, unavailable("No instance can be reached.", "no_instance"));
  }
  tried_.push_back(slot);
  shared.pass_through.add(slot, +1);
  counted_at_instance_ = true;
  dispatched({Delivery::Kind::dispatched, id_, slot}, view);
}

void RoutedRequest::queue_timed_out() {
  if (state_ != State::waiting) return;
  count(home_.shared.stats.queue_timeouts);
  end_with(How::failed, unavailable("No instance became free in time.", "queue_timeout"));
}

void RoutedRequest::client_gone() {
  if (state_ == State::ended) return;
  count(home_.shared.stats.clients_gone);
  end(How::cancelled);
}

void RoutedRequest::relay_to(const std::string& destination) {
  // Handlers hold the request weakly: once it has ended they have nothing left to do.
  const auto weak = weak_from_this();
  net::RelayHandler handler;
  handler.on_head = [weak](net::HttpResponse& head) {
    const auto request = weak.lock();
    return request && request->head_arrived(head);
  };
  handler.on_body = [weak](std::string_view piece) {
    if (const auto request = weak.lock()) request->body_arrived(piece);
  };
  handler.on_done = [weak](const net::RelayResult& result) {
    if (const auto request = weak.lock()) request->relay_done(result);
  };
  exchange_->relay(home_.client, destination,
                   make_upstream_request(exchange_->request(), home_.shared.settings),
                   home_.shared.settings.upstream_timeouts, std::move(handler));
}

bool RoutedRequest::may_retry() const { return retries_ < home_.shared.settings.max_retries; }

bool RoutedRequest::head_arrived(net::HttpResponse& head) {
  if (state_ != State::relaying) return false;
  status_ = head.status;
  if (is_worth_a_retry(head.status) && may_retry()) return false;
  head.headers.set("x-dualmesh-node", home_.shared.settings.node_name);
  head.headers.set("x-dualmesh-instance", instance_name_);
  head.headers.set("x-dualmesh-reason",
                   scheduled_ ? policies::to_string(reason_) : "passed_through");
  if (scheduled_ && head.status < 300) watcher_.emplace(is_event_stream(head.headers));
  return true;
}

void RoutedRequest::body_arrived(std::string_view piece) {
  if (state_ != State::relaying || !watcher_) return;
  const bool first = watcher_->feed(piece);
  // A whole answer arrives long after its first token was made, so it says nothing about it.
  if (!first || !scheduled_->streamed) return;
  const policies::Time now = home_.shared.scheduler.now();
  home_.shared.stats.ttft.observe(policies::to_seconds(now - began_));
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time at, policies::Effects& effects) {
        scheduler.first_token(id_, at, effects);
      });
}

void RoutedRequest::relay_done(const net::RelayResult& result) {
  if (state_ != State::relaying) return;
  switch (result.end) {
    case net::RelayResult::End::complete:
      return end(status_ < 500 ? How::finished : How::failed);
    case net::RelayResult::End::client_gone:
      return client_gone();
    case net::RelayResult::End::broken:
      count(home_.shared.stats.upstream_broken);
      spdlog::warn("instance {} broke off its answer after {} bytes: {}", instance_name_,
                   result.body_bytes, net::to_string(result.error));
      return end(How::failed);
    case net::RelayResult::End::not_started:
      return attempt_failed(result);
  }
}

void RoutedRequest::attempt_failed(const net::RelayResult& result) {
  FlowShared& shared = home_.shared;
  count(shared.stats.upstream_not_started);
  spdlog::info("instance {} failed before its answer began: {}", instance_name_,
               result.error == net::ClientError::none ? std::to_string(status_)
                                                      : net::to_string(result.error));
  // First the health, so that the scheduler does not choose the same one again.
  if (result.error != net::ClientError::none) shared.instance_failed(slot_, result.error);
  if (may_retry() && result.error != net::ClientError::timeout) {
    retry();
  } else {
    give_up(result);
  }
}

void RoutedRequest::retry() {
  ++retries_;
  count(home_.shared.stats.retries);
  leave_instance();
  timer_.reset();
  state_ = State::waiting;
  if (!scheduled_) return pass_through();
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        scheduler.failed(id_, true, now, effects);
      });
  limit_wait();
}

void RoutedRequest::give_up(const net::RelayResult& result) {
  const bool late = result.error == net::ClientError::timeout;
  net::ApiError error{
      late ? 504 : 502,
      late ? "The instance did not answer in time." : "No instance answered this request.",
      "server_error", "", late ? "upstream_timeout" : "upstream_failed"};
  end_with(How::failed, error_response(error));
}

void RoutedRequest::leave_instance() {
  if (!counted_at_instance_) return;
  home_.shared.pass_through.add(slot_, -1);
  counted_at_instance_ = false;
}

void RoutedRequest::end_with(How how, net::HttpResponse answer) {
  const auto exchange = exchange_;
  answer.headers.set("x-dualmesh-node", home_.shared.settings.node_name);
  end(how);
  exchange->respond(std::move(answer));
}

void RoutedRequest::end(How how) {
  DUALMESH_CHECK(state_ != State::ended, "request {} ends twice", id_);
  const auto self = shared_from_this();
  state_ = State::ended;
  timer_.reset();
  leave_instance();
  home_.live.erase(id_);
  exchange_.reset();
  if (!scheduled_ || how == How::rejected) return;  // the scheduler has forgotten a rejected one
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        switch (how) {
          case How::finished:
            scheduler.finished(id_, watcher_ ? watcher_->prompt_tokens() : 0,
                               watcher_ ? watcher_->cached_tokens() : 0, now, effects);
            break;
          case How::failed:
            scheduler.failed(id_, false, now, effects);
            break;
          case How::cancelled:
            scheduler.cancelled(id_, now, effects);
            break;
          case How::rejected:
            break;
        }
      });
}

}  // namespace dualmesh::node
