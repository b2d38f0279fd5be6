// RequestFlow: takes the requests of the OpenAI API from the HTTP server through the scheduler to
// an instance. Per I/O thread it keeps a pool of upstream connections, a prompt reader and the
// table of live requests; a request never leaves the thread that accepted it.
//
// Reading order: handle() here, then RoutedRequest (routed_request.h) for one request's life, then
// SharedScheduler for how threads meet.
//
// Invariant: stats().live counts the RoutedRequests; zero means that nothing is held anywhere.
// Threads: handle() on the exchange's thread; receive() on the thread it is for; the rest anywhere.
#pragma once

#include <atomic>
#include <boost/unordered/unordered_flat_map.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "net/http_client.h"
#include "net/http_server.h"
#include "net/prompt_reader.h"
#include "node/router/cache_knowledge.h"
#include "node/router/flow_stats.h"
#include "node/router/incoming_request.h"
#include "node/router/instance_health.h"
#include "node/router/prediction_check.h"
#include "node/router/presumed_prefills.h"
#include "node/router/request_deadline.h"
#include "node/router/routed_tokens.h"
#include "node/router/shared_residency.h"
#include "node/router/shared_scheduler.h"
#include "policies/admission.h"
#include "policies/retry_budget.h"

namespace dualmesh::node {

class RoutedRequest;

struct FlowSettings {
  std::string node_name;
  policies::ChainParameters chain;  // until set_chain
  std::uint32_t bytes_per_token = 4;
  std::uint32_t max_retries = 2;
  policies::RetryBudgetSettings retry_budget;  // of the node; the I/O threads share what is free
  std::chrono::milliseconds retry_pause{25};   // bound of the first pause; 0: none
  std::uint32_t retry_seed = 1;
  DeadlineSettings deadlines;
  policies::AdmissionSettings admission;
  std::chrono::seconds queue_timeout{600};
  net::ClientTimeouts upstream_timeouts;
  net::HttpClient::Limits upstream_pool;
  std::string upstream_authorization;  // "Bearer KEY" in place of the client's; empty: the client's
  bool drop_client_key = false;        // the client's key is ours, not the instances'
  TokenSettings tokens;
};

// Requests in flight that the scheduler does not know of, per instance.
class PassThroughLoad {
 public:
  void add(policies::Slot slot, int change);
  std::uint32_t at(policies::Slot slot) const;
  // The serving instance with the fewest requests, of `model` or of any when empty; healthy ones
  // first; kNoSlot when all have been tried.
  policies::Slot least_loaded(const SharedScheduler& scheduler, const policies::FleetView& view,
                              const std::string& model,
                              const std::vector<policies::Slot>& tried) const;

 private:
  mutable std::mutex mutex_;
  std::vector<std::uint32_t> requests_;  // by slot; guarded
};

// What requests take besides their own memory, counted where they take it. Without a live request
// nothing is held but idle connections, and presumed prefills until their times. For tests.
struct FlowHoldings {
  std::uint64_t in_line = 0, clients_in_line = 0;  // admission
  std::uint32_t questions = 0;                     // to tokenizers, without an answer yet
  // Of one thread.
  std::size_t presumed_prefills = 0;
  std::uint64_t retries_granted = 0;  // by the budget, ever
  net::PoolStats upstream;
};

// policies::Admission for all I/O threads.
class SharedAdmission {
 public:
  explicit SharedAdmission(const policies::AdmissionSettings& settings) : admission_(settings) {}

  bool limits() const { return admission_.settings().limits(); }
  policies::AdmissionAnswer ask(const policies::Admission::Asked& asked) const {
    const std::lock_guard lock(mutex_);
    return admission_.ask(asked);
  }
  void entered(std::uint64_t client) {
    const std::lock_guard lock(mutex_);
    admission_.entered(client);
  }
  void left(std::uint64_t client) {
    const std::lock_guard lock(mutex_);
    admission_.left(client);
  }
  void count(FlowHoldings& holdings) const {
    const std::lock_guard lock(mutex_);
    holdings.in_line = admission_.waiting();
    holdings.clients_in_line = admission_.clients();
  }

 private:
  mutable std::mutex mutex_;  // may be taken under the scheduler's
  policies::Admission admission_;
};

// What all threads of the flow share; outlives them.
struct FlowShared {
  FlowSettings settings;
  SharedScheduler& scheduler;
  InstanceHealth& health;
  SharedResidency& residency;
  CacheKnowledge knowledge;
  TokenSources tokens;
  PredictionCheck predictions;
  FlowStats stats;
  PassThroughLoad pass_through;
  SharedAdmission admission;
  std::atomic<bool> aborting{false};  // what waits is turned away rather than sent
  // An attempt at `slot` failed before its answer began. Any thread.
  std::function<void(policies::Slot, net::ClientError)> instance_failed;
  std::function<void()> placements_changed;
};

// The flow's things on one I/O thread.
struct FlowThread {
  FlowThread(FlowShared& shared_things, net::IoThread& io_thread)
      : shared(shared_things),
        thread(io_thread),
        client(io_thread, shared_things.settings.upstream_pool),
        tokenizer(io_thread, client, shared_things.tokens.gates,
                  shared_things.settings.tokens.timeout,
                  [&shared_things] { return shared_things.scheduler.now(); }),
        chain(shared_things.settings.chain),
        retry_budget(shared_things.settings.retry_budget),
        random(shared_things.settings.retry_seed + static_cast<std::uint32_t>(io_thread.index())),
        prefills(
            io_thread, [&shared_things] { return shared_things.scheduler.now(); },
            [this](const PresumedPrefills::Entry& entry) { return waits_for_prefill(entry); },
            [this](const PresumedPrefills::Entry& entry) { prefill_over(entry); }) {}

  bool waits_for_prefill(const PresumedPrefills::Entry& entry) const;
  void prefill_over(const PresumedPrefills::Entry& entry);

  FlowShared& shared;
  net::IoThread& thread;
  net::HttpClient client;
  TokenizerClient tokenizer;
  net::PromptReader reader;
  policies::ChainParameters chain;  // a copy per thread, so that no request waits for a change
  policies::RetryBudget retry_budget;
  std::minstd_rand random;  // of the pauses between attempts
  boost::unordered_flat_map<policies::RequestId, std::shared_ptr<RoutedRequest>> live;
  PresumedPrefills prefills;  // of the live ones that do not show their first tokens
};

// The scheduler's view of a request but for its hits (RoutedTokens), the same for a live one and
// for `explain`. It takes the prompt's chain.
policies::Arrival make_arrival(const FlowSettings& settings, ReadPrompt& prompt,
                               const Asker& asker);

class RequestFlow {
 public:
  RequestFlow(net::IoThreads& threads, SharedScheduler& scheduler, InstanceHealth& health,
              SharedResidency& residency, FlowSettings settings,
              std::function<void(policies::Slot, net::ClientError)> instance_failed,
              std::function<void()> placements_changed);
  ~RequestFlow();

  // With the head of a request: gets ready to read its prompt, where its endpoint has one.
  void begin(const net::HttpRequest& head, net::IoThread& thread, IncomingRequest& incoming);
  // Any /v1/ request but the list of models.
  void handle(std::shared_ptr<net::Exchange> exchange, std::unique_ptr<IncomingRequest> incoming);
  // Any thread: what prompts are cut with from now on; requests under way keep their chains.
  void set_chain(const policies::ChainParameters& chain);
  void abort_all();  // ends every live request, on its thread
  // Any thread: what has been sent to `slot` and shows no answer yet is tried elsewhere, where the
  // scheduler knows a healthy instance of its model.
  void instance_unhealthy(policies::Slot slot);

  std::uint64_t live_requests() const { return shared_.stats.live.load(); }
  FlowStats& stats() { return shared_.stats; }
  FlowHoldings holdings(net::IoThread& thread);  // on that thread
  const PassThroughLoad& pass_through_load() const { return shared_.pass_through; }
  const FlowSettings& settings() const { return shared_.settings; }
  CacheKnowledge& knowledge() { return shared_.knowledge; }
  PredictionCheck& predictions() { return shared_.predictions; }
  // What a request like this would arrive as; an instance may be asked for its tokens. Any thread;
  // `done` on another.
  void arrival_of(ViewPointer fleet, net::PromptFields fields, std::string body,
                  std::function<void(const policies::Arrival&, const RankChoices&)> done);
  TokenizeGates::Lack lacks_tokens(const std::string& address) const {
    return shared_.tokens.gates.lacks(address);
  }
  std::string cache_metrics() const;

 private:
  FlowThread& here(net::IoThread& thread);
  void receive(std::size_t thread, std::span<const Delivery> deliveries, const ViewPointer& view);
  void route(FlowThread& home, std::shared_ptr<net::Exchange> exchange, net::Endpoint endpoint,
             std::unique_ptr<IncomingRequest> incoming, std::chrono::milliseconds timeout);
  net::Tokens wanted_tokens() const {
    return shared_.knowledge.wants_tokens() ? net::Tokens::wanted : net::Tokens::unwanted;
  }
  // By what has been read while the body arrived, where that is enough. Nothing: `why`.
  std::optional<ReadPrompt> read_prompt(FlowThread& home, net::Endpoint endpoint,
                                        std::string_view body, IncomingRequest& incoming,
                                        std::optional<net::ApiError>& why);
  void pass_through(FlowThread& home, std::shared_ptr<net::Exchange> exchange,
                    std::unique_ptr<IncomingRequest> incoming, std::chrono::milliseconds timeout);

  net::IoThreads& io_threads_;
  FlowShared shared_;
  std::vector<std::unique_ptr<FlowThread>> threads_;  // each made and used on its own thread
};

}  // namespace dualmesh::node
