#include "node/router/routed_request.h"

#include <algorithm>

#include "node/router/api_error.h"
#include "node/router/upstream_heads.h"

namespace dualmesh::node {
namespace {

void count(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

RoutedRequest::RoutedRequest(FlowThread& home, std::shared_ptr<net::Exchange> exchange,
                             std::unique_ptr<IncomingRequest> incoming, policies::RequestId id,
                             std::string model, Scheduled* scheduled)
    : home_(home),
      exchange_(std::move(exchange)),
      incoming_(std::move(incoming)),
      id_(id),
      model_(std::move(model)) {
  if (scheduled) scheduled_.emplace(std::move(*scheduled));
  count(home_.shared.stats.live);
}

RoutedRequest::~RoutedRequest() { home_.shared.stats.live.fetch_sub(1, std::memory_order_relaxed); }

void RoutedRequest::start(std::chrono::milliseconds timeout) {
  const auto self = shared_from_this();
  began_ = home_.shared.scheduler.now();
  home_.retry_budget.request(began_);
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto request = weak.lock()) request->client_gone();
  });
  if (timeout.count() > 0) {
    deadline_ = began_ + timeout;
    deadline_timer_ = home_.thread.after(timeout, [weak = weak_from_this()] {
      if (const auto request = weak.lock()) request->deadline_passed();
    });
  }
  if (!scheduled_) return pass_through();
  blocks_ = scheduled_->arrival.chain.blocks;
  ask_for_tokens();
}

// Nothing is held for it meanwhile but itself: the scheduler does not know it yet.
void RoutedRequest::ask_for_tokens() {
  if (!scheduled_->tokens.should_ask()) return submit();
  const net::HttpRequest& request = exchange_->request();
  const std::string authorization(instance_authorization(request, home_.shared.settings));
  const bool asked =
      scheduled_->tokens.ask(home_.tokenizer, *home_.shared.scheduler.view(), model_, request.body,
                             authorization, began_, [weak = weak_from_this()] {
                               if (const auto self = weak.lock()) self->submit();
                             });
  if (!asked) submit();
}

void RoutedRequest::submit() {
  if (state_ == State::ended) return;
  const net::Headers& headers = exchange_->request().headers;
  if (headers.has(kRankHeader)) ranks_.wanted = read_rank(headers.find(kRankHeader));
  scheduled_->tokens.look_up(home_.shared.knowledge, scheduled_->arrival, ranks_);
  audit_.expect(scheduled_->arrival);
  const bool limited = home_.shared.admission.limits();
  const std::uint64_t client = scheduled_->arrival.client;
  policies::AdmissionAnswer answer;
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        if (limited) answer = ask_admission(scheduler, now);
        if (answer.kind != policies::AdmissionAnswer::Kind::taken) return;
        scheduler.submit(std::move(scheduled_->arrival), now, effects);
      });
  if (answer.kind != policies::AdmissionAnswer::Kind::taken) return refuse(answer);
  if (limited && state_ == State::waiting) {
    home_.shared.admission.entered(client);
    in_line_ = client;
  }
  limit_wait();
}

// Only what would have to wait is refused: an instance that is idle is not overloaded.
policies::AdmissionAnswer RoutedRequest::ask_admission(const policies::Scheduler& scheduler,
                                                       policies::Time now) const {
  const policies::DecisionRecord decision = scheduler.explain(scheduled_->arrival, now);
  const auto* chosen =
      std::ranges::find(decision.candidates, decision.chosen, &policies::CandidateEstimate::slot);
  const bool known = decision.chosen != policies::kNoSlot && chosen != decision.candidates.end();
  const bool waits =
      decision.reason == policies::Reason::waits || (known && chosen->pending_tokens > 0);
  if (!waits) return {};
  return home_.shared.admission.ask(
      {.client = scheduled_->arrival.client,
       .waiting = static_cast<std::uint32_t>(scheduler.waiting_requests()),
       .ttft_s = known ? chosen->ttft_s : 0.0,
       .slo_s = home_.shared.scheduler.wanted_ttft_s()});
}

void RoutedRequest::refuse(const policies::AdmissionAnswer& why) {
  using Kind = policies::AdmissionAnswer::Kind;
  count(home_.shared.stats.refused_early);
  const std::string reason = why.kind == Kind::too_many_waiting
                                 ? "Too many requests wait already"
                                 : "The first token would come too late";
  if (!why.clients_own) {
    return end_with(How::rejected, unavailable(reason + ".", "overloaded", why.retry_after_s));
  }
  net::HttpResponse response = error_response(
      {429, reason + ", most of them yours.", "rate_limit_error", "", "rate_limit_exceeded"});
  response.headers.add("Retry-After", std::to_string(why.retry_after_s));
  end_with(How::rejected, std::move(response));
}

void RoutedRequest::leave_line() {
  if (in_line_) home_.shared.admission.left(*in_line_);
  in_line_.reset();
}

void RoutedRequest::limit_wait() {
  if (state_ != State::waiting) return;  // dispatched or rejected inline
  timer_ = home_.thread.after(home_.shared.settings.queue_timeout, [weak = weak_from_this()] {
    if (const auto request = weak.lock()) request->queue_timed_out();
  });
}

void RoutedRequest::placed(const Delivery& placed) {
  if (state_ == State::ended) return;
  const auto known = home_.shared.residency.placed_here(placed.slot, blocks_, placed.at);
  audit_.placed(placed.slot, known.age, placed.at);
  if (known.to_tell) home_.shared.placements_changed();
}

void RoutedRequest::dispatched(const Delivery& dispatch, const ViewPointer& view) {
  if (!begins_relay(dispatch)) return;
  DUALMESH_CHECK(slot_ < view->instances.size(), "slot {} of {}", slot_, view->instances.size());
  instance_name_ = view->instances[slot_].name;
  if (const RankChoice* choice = ranks_.at(slot_)) {
    const bool wanted = ranks_.wanted.has_value();
    rank_place_.enter(home_.shared.knowledge.rank_load(), *choice, wanted);
    if (choice->rank && !wanted) audit_.sent_to_rank(*choice, rank_place_.rank().has_value());
  }
  relay_to(view->instances[slot_].address);
}

void RoutedRequest::handed(const Delivery& hop, const ViewPointer& view) {
  if (!begins_relay(hop)) return;
  const policies::Peers& peers = *view->peers;
  DUALMESH_CHECK(hop.peer < peers.size(), "peer {} of {}", hop.peer, peers.size());
  const policies::PeerView& peer = peers[hop.peer];
  away_ = true;
  instance_name_ = peer.name;
  relay_to(peer.http_address);
}

bool RoutedRequest::begins_relay(const Delivery& delivery) {
  if (state_ != State::waiting) return false;
  slot_ = delivery.slot;
  if (home_.shared.aborting.load()) {
    // By a post: ending this one here would dispatch the next from inside it, and so on.
    home_.thread.post([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->abort();
    });
    return false;
  }
  timer_.reset();
  leave_line();
  state_ = State::relaying;
  ++attempts_;
  reason_ = delivery.reason;
  if (AccessRecord* record = incoming_->record()) {
    record->queue_wait_s = policies::to_seconds(delivery.at - began_);
  }
  if (scheduled_ && scheduled_->generates && !scheduled_->streamed) {
    const policies::Time over = delivery.at + policies::from_seconds(delivery.prefill_s);
    home_.prefills.add({over, id_, attempts_}, delivery.at);
  }
  return true;
}

void RoutedRequest::rejected(policies::Rejected why, double wait_s) {
  if (state_ == State::ended) return;
  if (why == policies::Rejected::unknown_model) {
    count(home_.shared.stats.unknown_models);
    return end_with(How::rejected, unknown_model(model_));
  }
  if (failures_.any()) return end_with(How::rejected, failures_.answer());
  if (why == policies::Rejected::full) {
    count(home_.shared.stats.refused_full);
    return end_with(How::rejected,
                    unavailable("The instances of the model `" + model_ + "` have all they may.",
                                "overloaded", policies::retry_after_s(wait_s)));
  }
  count(home_.shared.stats.no_instance);
  end_with(How::rejected,
           unavailable("No instance of the model `" + model_ + "` can be reached.", "no_instance"));
}

void RoutedRequest::abort() {
  if (state_ == State::ended) return;
  count(home_.shared.stats.aborted);
  const auto exchange = exchange_;
  const net::ApiError why{503, "This node is shutting down.", "server_error", "", "draining"};
  if (!exchange->answered()) {
    net::HttpResponse answer = unavailable(why.message, why.code);
    sign(answer, How::cancelled);
    if (AccessRecord* record = incoming_->record()) record->end = RequestEnd::aborted;
    end(How::cancelled);
    exchange->call_off();
    return exchange->respond(std::move(answer));
  }
  write_down(RequestEnd::aborted, relayed_bytes_);
  end(How::cancelled);
  exchange->break_off(why);
}

void RoutedRequest::instance_unhealthy(policies::Slot slot) {
  if (state_ != State::relaying || slot_ != slot) return;
  if (!may_retry(net::ClientError::called_off)) return;
  retry_granted_ = true;  // it moves from an instance that is gone: no load is added
  const auto exchange = exchange_;
  if (exchange->call_off()) {
    count(home_.shared.stats.retries_unbudgeted);
  } else {
    retry_granted_ = false;
  }
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
    if (failures_.any()) return end_with(How::rejected, failures_.answer());
    count(shared.stats.no_instance);
    return end_with(How::rejected, unavailable("No instance can be reached.", "no_instance"));
  }
  tried_.push_back(slot);
  shared.pass_through.add(slot, +1);
  counted_at_instance_ = true;
  Delivery delivery{Delivery::Kind::dispatched, id_, slot};
  delivery.at = shared.scheduler.now();
  dispatched(delivery, view);
}

void RoutedRequest::queue_timed_out() {
  if (state_ != State::waiting) return;
  count(home_.shared.stats.queue_timeouts);
  // Cancelled for the scheduler: the instance whose queue it was in has not failed at it.
  end_with(How::cancelled, unavailable("No instance became free in time.", "queue_timeout"));
}

// Whoever has it meanwhile has not failed: the time was the client's to choose.
void RoutedRequest::deadline_passed() {
  if (state_ == State::ended) return;
  count(home_.shared.stats.deadlines_passed);
  const net::ApiError late{504, "The request was not answered within its time.", "server_error", "",
                           "request_timeout"};
  const auto exchange = exchange_;
  if (exchange->answered()) {
    write_down(RequestEnd::timeout, relayed_bytes_);
    end(How::cancelled);
    return exchange->break_off(late);
  }
  net::HttpResponse answer = error_response(late);
  sign(answer, How::cancelled);
  end(How::cancelled);
  exchange->call_off();
  exchange->respond(std::move(answer));
}

void RoutedRequest::client_gone(std::uint64_t bytes_out) {
  if (state_ == State::ended) return;
  count(home_.shared.stats.clients_gone);
  write_down(RequestEnd::client_gone, bytes_out);
  end(How::cancelled);
}

void RoutedRequest::leave_instance() {
  rank_place_.leave();
  if (!counted_at_instance_) return;
  home_.shared.pass_through.add(slot_, -1);
  counted_at_instance_ = false;
}

void RoutedRequest::end_with(How how, net::HttpResponse answer) {
  const auto exchange = exchange_;
  sign(answer, how);
  end(how);
  exchange->respond(std::move(answer));
}

// An answer of this node's own.
void RoutedRequest::sign(net::HttpResponse& answer, How how) {
  answer.headers.set("x-dualmesh-node", home_.shared.settings.node_name);
  const bool tried = failures_.any() || how == How::failed;
  const bool late = answer.status == 504 || (state_ == State::waiting && how == How::cancelled);
  status_ = answer.status;
  write_down({}, 0);
  incoming_->sign(answer, late    ? RequestEnd::timeout
                          : tried ? RequestEnd::upstream_failed
                                  : RequestEnd::refused);
}

void RoutedRequest::write_down(RequestEnd end, std::uint64_t bytes_out) {
  incoming_->answered(status_);
  AccessRecord* record = incoming_->record();
  if (!record) return;
  record->end = end;
  record->bytes_out = bytes_out;
  record->model = model_.substr(0, AccessRecord::kMostTextBytes);
  record->status = status_;
  record->retries = retries_;
  if (scheduled_) record->decision = id_;
  if (slot_ != policies::kNoSlot || away_) {
    (away_ ? record->handed_to : record->instance) = instance_name_;
    record->reason = scheduled_ ? policies::to_string(reason_) : kPassedThrough;
  }
  if (!watcher_) return;
  record->prompt_tokens = watcher_->prompt_tokens();
  record->completion_tokens = watcher_->completion_tokens();
  record->cached_tokens = watcher_->cached_tokens();
}

void RoutedRequest::end(How how) {
  DUALMESH_CHECK(state_ != State::ended, "request {} ends twice", id_);
  const auto self = shared_from_this();
  state_ = State::ended;
  timer_.reset();
  deadline_timer_.reset();
  leave_line();
  leave_instance();
  home_.live.erase(id_);
  exchange_.reset();
  incoming_.reset();
  if (!scheduled_) return;
  scheduled_->tokens.stop();
  if (how == How::rejected) return;  // the scheduler has forgotten it
  if (how == How::finished && watcher_ && !away_) {
    FlowShared& shared = home_.shared;
    audit_.finished(slot_, instance_name_, *watcher_, shared.knowledge, shared.predictions,
                    shared.residency, shared.scheduler.now());
  }
  home_.shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        switch (how) {
          case How::finished:
            scheduler.finished(
                id_,
                watcher_ ? policies::Usage{watcher_->prompt_tokens(), watcher_->cached_tokens(),
                                           watcher_->completion_tokens()}
                         : policies::Usage{},
                now, effects);
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
