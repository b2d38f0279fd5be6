#include "node/router/request_flow.h"

#include <algorithm>
#include <limits>

#include "node/router/api_error.h"
#include "node/router/routed_request.h"
#include "node/router/upstream_heads.h"

namespace dualmesh::node {

namespace {

void refuse(net::Exchange& exchange, IncomingRequest& incoming, const net::ApiError& error) {
  net::HttpResponse answer = error_response(error);
  incoming.sign(answer, RequestEnd::refused);
  exchange.respond(std::move(answer));
}

}  // namespace

void PassThroughLoad::add(policies::Slot slot, int change) {
  const std::lock_guard lock(mutex_);
  if (slot >= requests_.size()) requests_.resize(slot + 1u);
  requests_[slot] += static_cast<std::uint32_t>(change);
}

std::uint32_t PassThroughLoad::at(policies::Slot slot) const {
  const std::lock_guard lock(mutex_);
  return slot < requests_.size() ? requests_[slot] : 0;
}

policies::Slot PassThroughLoad::least_loaded(const SharedScheduler& scheduler,
                                             const policies::FleetView& view,
                                             const std::string& model,
                                             const std::vector<policies::Slot>& tried) const {
  std::vector<policies::QueueSnapshot> by_slot(view.instances.size());
  for (policies::QueueSnapshot& queue :
       scheduler.read([](const policies::Scheduler& inner) { return inner.queues(); })) {
    if (queue.slot < by_slot.size()) by_slot[queue.slot] = std::move(queue);
  }
  policies::Slot best = policies::kNoSlot;
  auto best_rank = std::numeric_limits<std::uint64_t>::max();
  for (const policies::InstanceView& instance : view.instances) {
    if (instance.slot == policies::kNoSlot || instance.lifecycle != policies::Lifecycle::active) {
      continue;
    }
    if (!model.empty() && std::ranges::find(instance.models, model) == instance.models.end()) {
      continue;
    }
    if (std::ranges::find(tried, instance.slot) != tried.end()) continue;
    const policies::QueueSnapshot& queue = by_slot[instance.slot];
    // An unhealthy one is worse than any load, but better than nobody.
    const std::uint64_t rank = (queue.healthy ? 0 : 1ull << 40) + queue.own.requests() +
                               instance.others.requests() + at(instance.slot);
    if (rank < best_rank) {
      best_rank = rank;
      best = instance.slot;
    }
  }
  return best;
}

policies::Arrival make_arrival(const FlowSettings& settings, ReadPrompt& prompt,
                               const Asker& asker) {
  const net::PromptFields& fields = prompt.fields;
  policies::Arrival arrival;
  arrival.model = fields.model;
  arrival.block_tokens = std::max(1u, prompt.parameters.block_bytes / settings.bytes_per_token);
  const std::uint64_t estimate =
      (prompt.chain.bytes + settings.bytes_per_token - 1) / settings.bytes_per_token;
  arrival.chain = std::move(prompt.chain);
  arrival.input_tokens =
      fields.token_ids > 0 ? fields.token_ids : static_cast<std::uint32_t>(estimate);
  arrival.system_key = asker.salt().system_key(fields.system_key);
  arrival.client = asker.client_or(fields.user);
  return arrival;
}

RequestFlow::RequestFlow(net::IoThreads& threads, SharedScheduler& scheduler,
                         InstanceHealth& health, SharedResidency& residency, FlowSettings settings,
                         std::function<void(policies::Slot, net::ClientError)> instance_failed,
                         std::function<void()> placements_changed)
    : io_threads_(threads),
      shared_{std::move(settings),
              scheduler,
              health,
              residency,
              CacheKnowledge(residency),
              TokenSources(shared_.settings.tokens),
              {},
              {},
              {},
              SharedAdmission(shared_.settings.admission),
              false,
              std::move(instance_failed),
              std::move(placements_changed)},
      threads_(threads.count()) {
  std::uint32_t& free = shared_.settings.retry_budget.free_retries;
  const auto count = static_cast<std::uint32_t>(threads.count());
  free = (free + count - 1) / count;
  for (std::size_t i = 0; i < threads.count(); ++i) {
    scheduler.set_receiver(i, [this, i](std::span<const Delivery> deliveries,
                                        const ViewPointer& view) { receive(i, deliveries, view); });
  }
}

RequestFlow::~RequestFlow() = default;

FlowThread& RequestFlow::here(net::IoThread& thread) {
  std::unique_ptr<FlowThread>& slot = threads_[thread.index()];
  if (!slot) slot = std::make_unique<FlowThread>(shared_, thread);
  return *slot;
}

FlowHoldings RequestFlow::holdings(net::IoThread& thread) {
  const FlowThread& home = here(thread);
  FlowHoldings holdings;
  shared_.admission.count(holdings);
  holdings.questions = shared_.tokens.gates.asking();
  holdings.presumed_prefills = home.prefills.size();
  holdings.retries_granted = home.retry_budget.granted();
  holdings.upstream = home.client.stats();
  return holdings;
}

void RequestFlow::begin(const net::HttpRequest& head, net::IoThread& thread,
                        IncomingRequest& incoming) {
  const net::Endpoint endpoint = net::endpoint_of(head.path());
  if (head.method != "POST" || endpoint == net::Endpoint::other) return;
  incoming.prompt.emplace(endpoint, wanted_tokens(), here(thread).chain);
}

void RequestFlow::handle(std::shared_ptr<net::Exchange> exchange,
                         std::unique_ptr<IncomingRequest> incoming) {
  FlowThread& home = here(exchange->thread());
  const net::HttpRequest& request = exchange->request();
  const auto timeout = request_timeout(request.headers, shared_.settings.deadlines);
  if (timeout.has_error()) {
    shared_.stats.bad_requests.fetch_add(1, std::memory_order_relaxed);
    return refuse(*exchange, *incoming,
                  {400, timeout.error().message, "invalid_request_error", "", ""});
  }
  const net::Endpoint endpoint = net::endpoint_of(request.path());
  if (request.method == "POST" && endpoint != net::Endpoint::other) {
    route(home, std::move(exchange), endpoint, std::move(incoming), *timeout);
  } else {
    pass_through(home, std::move(exchange), std::move(incoming), *timeout);
  }
}

std::optional<ReadPrompt> RequestFlow::read_prompt(FlowThread& home, net::Endpoint endpoint,
                                                   std::string_view body, IncomingRequest& incoming,
                                                   std::optional<net::ApiError>& why) {
  const net::Tokens wanted = wanted_tokens();
  const NamespaceSalt& salt = incoming.asker.salt();
  const bool scanned =
      incoming.prompt && (wanted == net::Tokens::unwanted || incoming.prompt->tokens() == wanted);
  std::optional<ReadPrompt> prompt = scanned ? incoming.prompt->finish(body, salt) : std::nullopt;
  incoming.prompt.reset();  // what it noted is many times a small body, and the request lives on
  if (prompt) {
    shared_.stats.scanned.fetch_add(1, std::memory_order_relaxed);
    return prompt;
  }
  auto fields = home.reader.read(endpoint, body, wanted);
  if (fields.has_error()) {
    why = fields.error();
    return prompt;
  }
  prompt = cut_prompt(std::move(*fields), home.chain, salt);
  return prompt;
}

void RequestFlow::route(FlowThread& home, std::shared_ptr<net::Exchange> exchange,
                        net::Endpoint endpoint, std::unique_ptr<IncomingRequest> incoming,
                        std::chrono::milliseconds timeout) {
  std::optional<net::ApiError> why;
  auto prompt = read_prompt(home, endpoint, exchange->request().body, *incoming, why);
  if (!prompt) {
    shared_.stats.bad_requests.fetch_add(1, std::memory_order_relaxed);
    return refuse(*exchange, *incoming, *why);
  }
  net::PromptFields* const fields = &prompt->fields;
  // The engines' caches know no tenants: what they hold of this text is not of this namespace.
  if (!incoming->asker.salt().shares()) fields->token_form = net::TokenForm::none;
  RoutedRequest::Scheduled scheduled{make_arrival(shared_.settings, *prompt, incoming->asker), {}};
  if (shared_.knowledge.wants_tokens()) {
    scheduled.tokens = RoutedTokens(shared_.tokens, shared_.knowledge, *shared_.scheduler.view(),
                                    prompt->parameters, *fields, scheduled.arrival);
  }
  scheduled.arrival.id = shared_.scheduler.next_id(home.thread.index());
  scheduled.arrival.handed = exchange->request().headers.has(kHopHeader);
  if (scheduled.arrival.handed) shared_.stats.handed_here.fetch_add(1, std::memory_order_relaxed);
  scheduled.streamed = fields->stream;
  scheduled.generates = endpoint != net::Endpoint::embeddings;
  shared_.stats.routed.fetch_add(1, std::memory_order_relaxed);
  const policies::RequestId id = scheduled.arrival.id;
  const auto request = std::make_shared<RoutedRequest>(
      home, std::move(exchange), std::move(incoming), id, std::move(fields->model), &scheduled);
  home.live.emplace(id, request);
  request->start(timeout);
}

void RequestFlow::arrival_of(
    ViewPointer fleet, net::PromptFields fields, std::string body,
    std::function<void(const policies::Arrival&, const RankChoices&)> done) {
  struct Question {
    ViewPointer fleet;
    net::PromptFields fields;
    std::string body;
    std::function<void(const policies::Arrival&, const RankChoices&)> done;
    policies::Arrival arrival;
    RoutedTokens tokens;
  };
  auto question = std::make_shared<Question>();
  question->fleet = std::move(fleet);
  question->fields = std::move(fields);
  question->body = std::move(body);
  question->done = std::move(done);
  io_threads_.at(0).post([this, question] {
    FlowThread& home = here(io_threads_.at(0));
    Question& asked = *question;
    const Asker nobody;
    ReadPrompt prompt = cut_prompt(std::move(asked.fields), home.chain, nobody.salt());
    asked.arrival = make_arrival(shared_.settings, prompt, nobody);
    asked.tokens = RoutedTokens(shared_.tokens, shared_.knowledge, *asked.fleet, prompt.parameters,
                                prompt.fields, asked.arrival);
    const auto answer = [this, question] {
      RankChoices ranks;
      question->tokens.look_up(shared_.knowledge, question->arrival, ranks);
      question->done(question->arrival, ranks);
      // The question holds the handle of what calls us now, and is held by it.
      io_threads_.at(0).post([question] { question->tokens.stop(); });
    };
    const bool waits =
        asked.tokens.should_ask() &&
        asked.tokens.ask(home.tokenizer, *asked.fleet, asked.arrival.model, asked.body,
                         shared_.settings.upstream_authorization, shared_.scheduler.now(), answer);
    if (!waits) answer();
  });
}

std::string RequestFlow::cache_metrics() const {
  MetricsText out;
  shared_.tokens.append_to(out);
  shared_.predictions.append_to(out);
  return out.take();
}

void RequestFlow::pass_through(FlowThread& home, std::shared_ptr<net::Exchange> exchange,
                               std::unique_ptr<IncomingRequest> incoming,
                               std::chrono::milliseconds timeout) {
  // The body may be anything; a model is honoured where one can be read.
  std::string model;
  const std::string_view body = exchange->request().body;
  if (!body.empty()) {
    const auto fields = home.reader.read(net::Endpoint::other, body);
    if (fields.has_value()) model = fields->model;
  }
  shared_.stats.passed_through.fetch_add(1, std::memory_order_relaxed);
  const policies::RequestId id = shared_.scheduler.next_id(home.thread.index());
  const auto request = std::make_shared<RoutedRequest>(
      home, std::move(exchange), std::move(incoming), id, std::move(model), nullptr);
  home.live.emplace(id, request);
  request->start(timeout);
}

void RequestFlow::receive(std::size_t thread, std::span<const Delivery> deliveries,
                          const ViewPointer& view) {
  FlowThread& home = here(io_threads_.at(thread));
  for (const Delivery& delivery : deliveries) {
    const auto found = home.live.find(delivery.id);
    if (found == home.live.end()) continue;  // it ended meanwhile, and the scheduler knows
    const std::shared_ptr<RoutedRequest> request = found->second;
    switch (delivery.kind) {
      case Delivery::Kind::placed:
        request->placed(delivery);
        break;
      case Delivery::Kind::dispatched:
        request->dispatched(delivery, view);
        break;
      case Delivery::Kind::handed:
        request->handed(delivery, view);
        break;
      case Delivery::Kind::rejected:
        request->rejected(delivery.why, delivery.prefill_s);
        break;
    }
  }
}

bool FlowThread::waits_for_prefill(const PresumedPrefills::Entry& entry) const {
  const auto found = live.find(entry.id);
  return found != live.end() && found->second->is_at_attempt(entry.attempt);
}

void FlowThread::prefill_over(const PresumedPrefills::Entry& entry) {
  shared.scheduler.enter(
      [&](policies::Scheduler& scheduler, policies::Time now, policies::Effects& effects) {
        scheduler.prefill_presumed(entry.id, now, effects);
      });
}

void RequestFlow::instance_unhealthy(policies::Slot slot) {
  const ViewPointer view = shared_.scheduler.view();
  std::vector<policies::Slot> healthy;
  for (const policies::QueueSnapshot& queue : shared_.scheduler.read(
           [](const policies::Scheduler& scheduler) { return scheduler.queues(); })) {
    if (queue.healthy && queue.slot != slot) healthy.push_back(queue.slot);
  }
  const auto served_elsewhere = [view, healthy](const std::string& model) {
    const auto known = view->models.find(model);
    if (known == view->models.end()) return model.empty() && !healthy.empty();
    return std::ranges::any_of(known->second.active, [&](policies::Slot other) {
      return std::ranges::find(healthy, other) != healthy.end();
    });
  };
  const std::string address = slot < view->instances.size() ? view->instances[slot].address : "";
  for (std::size_t i = 0; i < io_threads_.count(); ++i) {
    io_threads_.at(i).post([this, i, slot, address, served_elsewhere] {
      FlowThread& home = here(io_threads_.at(i));
      home.client.close_idle(address);
      std::vector<std::shared_ptr<RoutedRequest>> requests;
      for (const auto& [id, request] : home.live) {
        if (served_elsewhere(request->model())) requests.push_back(request);
      }
      for (const auto& request : requests) request->instance_unhealthy(slot);
    });
  }
}

void RequestFlow::set_chain(const policies::ChainParameters& chain) {
  for (std::size_t i = 0; i < io_threads_.count(); ++i) {
    io_threads_.at(i).post([this, i, chain] { here(io_threads_.at(i)).chain = chain; });
  }
}

void RequestFlow::abort_all() {
  shared_.aborting.store(true);
  for (std::size_t i = 0; i < io_threads_.count(); ++i) {
    io_threads_.at(i).post([this, i] {
      FlowThread& home = here(io_threads_.at(i));
      std::vector<std::shared_ptr<RoutedRequest>> requests;
      for (const auto& [id, request] : home.live) requests.push_back(request);
      for (const auto& request : requests) request->abort();
    });
  }
}

}  // namespace dualmesh::node
