// What Node answers administrators and scrapers.
#include "node/router/node.h"
#include "node/router/node_metrics.h"
#include "policies/hits.h"

namespace dualmesh::node {

HostStatus Node::status() {
  const net::ServerStats http = server_.stats();
  const ViewPointer view = scheduler_.view();
  HostStatus status;
  status.held_body_bytes = http.held_body_bytes;
  status.open_connections = http.open_connections;
  status.draining = draining_.load();
  scheduler_.read([&](const policies::Scheduler& scheduler) {
    for (const auto& [name, model] : view->models) {
      if (scheduler.panicking(name)) status.panicking_models.push_back(name);
    }
  });
  return status;
}

policies::SchedulerTotals Node::totals() {
  return scheduler_.read([](const policies::Scheduler& scheduler) { return scheduler.totals(); });
}

std::vector<policies::QueueSnapshot> Node::queues() {
  return scheduler_.read([](const policies::Scheduler& scheduler) { return scheduler.queues(); });
}

InstanceFacts Node::facts(policies::Slot slot) {
  InstanceFacts facts = monitor_.facts(slot);
  const InstanceHealth::Verdict verdict = health_.verdict(slot);
  if (facts.healthy && !verdict.reason.empty()) {
    facts.healthy = verdict.usable();
    facts.unhealthy_reason = verdict.reason;
  }
  facts.resident_blocks = residency_.size(slot);
  const ViewPointer view = scheduler_.view();
  if (slot < view->instances.size()) {
    facts.tokens_lacking = in_words(flow_.lacks_tokens(view->instances[slot].address));
  }
  facts.engine_ranks = monitor_.engine_metrics(slot).ranks;
  return facts;
}

std::vector<policies::DecisionRecord> Node::decisions(std::size_t last) {
  return scheduler_.read(
      [last](const policies::Scheduler& scheduler) { return scheduler.decisions(last); });
}

void Node::explain(const std::string& path, std::string body, Explained done) {
  const net::Endpoint endpoint = net::endpoint_of(path);
  if (endpoint == net::Endpoint::other) {
    return done(
        net::Error{path + " is not routed by prefix; it is passed to the least loaded instance"});
  }
  net::PromptReader reader;
  auto fields = reader.read(endpoint, body, net::Tokens::wanted);
  if (fields.has_error()) return done(net::Error{fields.error().message});
  const ViewPointer view = scheduler_.view();
  if (!view->models.contains(fields->model)) {
    return done(net::Error{"no instance serves the model \"" + fields->model + "\""});
  }
  flow_.arrival_of(view, std::move(*fields), std::move(body),
                   [this, view, done = std::move(done)](const policies::Arrival& arrival,
                                                        const RankChoices& ranks) {
                     done(explanation_of(arrival, ranks, *view));
                   });
}

Explanation Node::explanation_of(const policies::Arrival& arrival, const RankChoices& ranks,
                                 const policies::FleetView& view) {
  Explanation explanation;
  explanation.decision = scheduler_.read([&](const policies::Scheduler& scheduler) {
    return scheduler.explain(arrival, scheduler_.now());
  });
  const auto model = view.models.find(arrival.model);
  if (model == view.models.end()) return explanation;
  const auto caches = flow_.knowledge().view();
  for (const policies::Slot slot : model->second.serving) {
    const policies::HitSource source = policies::hit_source(arrival, slot);
    std::uint32_t block_tokens = arrival.block_tokens;
    if (source >= policies::HitSource::degraded && caches && slot < caches->by_slot.size()) {
      block_tokens = caches->by_slot[slot].block_tokens;
    }
    Explanation::Hit hit{slot, policies::hit_tokens(arrival, slot), block_tokens, source};
    if (caches && slot < caches->by_slot.size()) hit.ranks = caches->by_slot[slot].ranks;
    if (const RankChoice* choice = ranks.at(slot)) hit.rank = choice->rank;
    explanation.hits.push_back(hit);
  }
  return explanation;
}

std::string Node::metrics() {
  return node_metrics({*scheduler_.view(), totals(), queues(), status(), server_.stats(),
                       certificate_state(), flow_.stats(), residency_.size(),
                       [this](policies::Slot slot) { return monitor_.engine_metrics(slot); },
                       [this](policies::Slot slot) { return health_.verdict(slot).state; },
                       health_.ejections()}) +
         flow_.cache_metrics() + kv_.metrics() + identity_metrics();
}

KnownClients Node::clients() {
  const auto directory = tenants_.directory();
  KnownClients known{.anybody = !tenants_.needs_key(),
                     .tenants = {},
                     .keys = directory->clients_without_tenant()};
  for (const auto& [name, answers] : directory->answers()) known.tenants.push_back(name);
  return known;
}

Readiness Node::readiness() {
  return readiness_of(*scheduler_.view(), not_ready_reason(), [this](policies::Slot slot) {
    return Seen{monitor_.facts(slot).healthy, health_.verdict(slot).usable()};
  });
}

std::string Node::identity_metrics() const {
  MetricsText out;
  front_door_.append_answers(out);
  out.gauge("dualmesh_tenants", "Tenants known.",
            static_cast<double>(tenants_.directory()->tenants()));
  out.counter("dualmesh_tenants_read_total", "Times that the tenants were read, the first too.",
              static_cast<double>(tenants_.reloads()));
  out.counter("dualmesh_tenants_broken_total",
              "Times that they could not be read and stayed as they were.",
              static_cast<double>(tenants_.broken_files()));
  if (!access_log_) return out.take();
  const AccessLog::Figures log = access_log_->figures();
  out.family("dualmesh_access_log_records_total", MetricType::counter,
             "Lines of the access log: written, dropped because too many waited, not taken by the "
             "file.");
  out.sample({{"fate", "written"}}, static_cast<double>(log.written));
  out.sample({{"fate", "dropped"}}, static_cast<double>(log.dropped));
  out.sample({{"fate", "failed"}}, static_cast<double>(log.failed));
  return out.take();
}

void Node::look_at_files() {
  if (access_log_) access_log_->reopen();
  tenants_.look();
}

std::string Node::dump_state() {
  std::string out = fmt::format("node {}: ready {}, draining {}, live requests {}\n",
                                config_.mesh.node_name, ready(), draining_.load(), live_requests());
  out += metrics();
  out += mesh_->dump_state();
  return out;
}

}  // namespace dualmesh::node
