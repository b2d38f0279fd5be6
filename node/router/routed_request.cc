#include "node/router/routed_request.h"

#include "node/router/api_error.h"
#include "node/router/upstream_heads.h"

namespace dualmesh::node {
namespace {

void count(Counter& counter) { counter.fetch_add(1, std::memory_order_relaxed); }

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
  home_.retry_budget.request(began_);
  exchange_->on_gone([weak = weak_from_this()] {
    if (const auto request = weak.lock()) request->client_gone();
  });
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
  const policies::Time now = home_.shared.scheduler.now();
  audit_.placed(slot, blocks_, home_.shared.residency, now);
  if (home_.shared.residency.placed_here(slot, blocks_, now)) {
    home_.shared.placements_changed();
  }
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
    home_.thread.post([self = shared_from_this()] { self->abort(); });
    return false;
  }
  timer_.reset();
  state_ = State::relaying;
  reason_ = delivery.reason;
  if (scheduled_ && scheduled_->generates && !scheduled_->streamed) {
    presume_prefill(delivery.prefill_s);
  }
  return true;
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
  if (failures_.any()) return end_with(How::rejected, failures_.answer());
  count(home_.shared.stats.no_instance);
  end_with(How::rejected,
           unavailable("No instance of the model `" + model_ + "` can be reached.", "no_instance"));
}

void RoutedRequest::abort() {
  if (state_ == State::ended) return;
  count(home_.shared.stats.aborted);
  const auto exchange = exchange_;
  if (!exchange->answered()) {
    net::HttpResponse answer = unavailable("This node is shutting down.", "draining");
    end(How::cancelled);
    exchange->call_off();
    return respond(*exchange, std::move(answer));
  }
  end(How::cancelled);
  exchange->abort();
}

void RoutedRequest::instance_unhealthy(policies::Slot slot) {
  if (state_ != State::relaying || slot_ != slot) return;
  if (!may_retry(net::ClientError::called_off)) return;
  retry_granted_ = true;  // it moves from an instance that is gone: no load is added
  const auto exchange = exchange_;
  exchange->call_off();
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
  dispatched({Delivery::Kind::dispatched, id_, slot}, view);
}

void RoutedRequest::queue_timed_out() {
  if (state_ != State::waiting) return;
  count(home_.shared.stats.queue_timeouts);
  // Cancelled for the scheduler: the instance whose queue it was in has not failed at it.
  end_with(How::cancelled, unavailable("No instance became free in time.", "queue_timeout"));
}

void RoutedRequest::client_gone() {
  if (state_ == State::ended) return;
  count(home_.shared.stats.clients_gone);
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
  end(how);
  respond(*exchange, std::move(answer));
}

void RoutedRequest::respond(net::Exchange& exchange, net::HttpResponse answer) const {
  answer.headers.set("x-dualmesh-node", home_.shared.settings.node_name);
  exchange.respond(std::move(answer));
}

void RoutedRequest::end(How how) {
  DUALMESH_CHECK(state_ != State::ended, "request {} ends twice", id_);
  const auto self = shared_from_this();
  state_ = State::ended;
  timer_.reset();
  leave_instance();
  home_.live.erase(id_);
  exchange_.reset();
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
