#include "node/mesh/admin_server.h"

#include <kj/async.h>
#include <xxhash.h>

#include <algorithm>

#include "node/kv/kv_answers.h"
#include "node/mesh/admin_changes.h"
#include "node/mesh/admin_kv.h"
#include "node/mesh/mesh_metrics.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

class DecisionWriter {
 public:
  explicit DecisionWriter(MeshNode& node)
      : instances_(node.view()->instances), now_(node.admin_host().now()) {}

  void write(const policies::DecisionRecord& record, wire::Decision::Builder out) const {
    out.setId(record.id);
    out.setAgoMs(to_ms(now_ - record.at));
    out.setModel(record.model);
    out.setPolicy(record.policy);
    out.setInputTokens(record.input_tokens);
    out.setDepth(record.depth);
    out.setRingKey(hex(record.ring_key));
    out.setRingDigest(hex(record.ring_digest));
    out.setDepthDigest(hex(record.depth_digest));
    out.setRingsAgreed(record.rings_agreed);
    auto candidates = out.initCandidates(2);
    write_candidate(record.candidates[0], record.by_ring ? "A" : "chosen", candidates[0]);
    write_candidate(record.candidates[1], record.by_ring ? "B" : "backup", candidates[1]);
    out.setChosen(name(record.chosen));
    out.setBackup(name(record.backup));
    out.setReason(policies::to_string(record.reason));
    out.setHandedTo(record.handed_to);
    out.setMigrations(record.migrations);
    out.setRetries(record.retries);
    out.setOutcome(policies::to_string(record.outcome));
    out.setQueuedMs(record.queued_s * 1e3);
    out.setTtftMs(record.ttft_s * 1e3);
    out.setCachedTokens(record.cached_tokens);
  }

  std::string name(policies::Slot slot) const {
    return slot < instances_.size() ? instances_[slot].name : "";
  }

 private:
  void write_candidate(const policies::CandidateEstimate& candidate, const char* ring,
                       wire::Estimate::Builder out) const {
    out.setInstance(name(candidate.slot));
    out.setRing(ring);
    out.setHitTokens(candidate.hit_tokens);
    out.setPendingTokens(candidate.pending_tokens);
    out.setTtftMs(candidate.ttft_s * 1e3);
    out.setSource(policies::to_string(candidate.source));
  }

  const std::vector<policies::InstanceView>& instances_;
  policies::Time now_;
};

class AdminServer final : public wire::Admin::Server {
 public:
  AdminServer(MeshNode& node, const net::IncomingPeer& caller)
      : node_(node), changes_(node, caller) {}

  kj::Promise<void> status(StatusContext context) override {
    write_status(node_, context.getResults().initStatus());
    return kj::READY_NOW;
  }

  kj::Promise<void> members(MembersContext context) override {
    write_members(node_, context.getResults());
    return kj::READY_NOW;
  }

  kj::Promise<void> instances(InstancesContext context) override {
    write_instances(node_, context.getResults());
    return kj::READY_NOW;
  }

  kj::Promise<void> changeInstance(ChangeInstanceContext context) override {
    changes_.change_instance(context.getParams(), context.getResults());
    return kj::READY_NOW;
  }

  kj::Promise<void> policy(PolicyContext context) override {
    auto out = context.getResults();
    out.setPolicy(node_.view()->settings.policy);
    const auto names = policies::policy_names();
    auto available = out.initAvailable(static_cast<unsigned>(names.size()));
    for (unsigned i = 0; i < names.size(); ++i) available.set(i, names[i]);
    write_policies_per_node(names, out);
    return kj::READY_NOW;
  }

  kj::Promise<void> setPolicy(SetPolicyContext context) override {
    changes_.set_policy(text_of(context.getParams().getPolicy()));
    return kj::READY_NOW;
  }

  kj::Promise<void> clientWeights(ClientWeightsContext context) override {
    auto out = context.getResults();
    out.setWeights(node_.view()->settings.client_weights.text());
    out.setSet(node_.client_weights_set().text());
    out.setConfigured(node_.configured_client_weights().text());
    const KnownClients known = node_.admin_host().clients();
    auto tenants = out.initTenants(static_cast<unsigned>(known.tenants.size()));
    for (unsigned i = 0; i < tenants.size(); ++i) tenants.set(i, known.tenants[i]);
    auto keys = out.initKeys(static_cast<unsigned>(known.keys.size()));
    for (unsigned i = 0; i < keys.size(); ++i) keys.set(i, known.keys[i]);
    out.setAnybody(known.anybody);
    return kj::READY_NOW;
  }

  kj::Promise<void> setClientWeights(SetClientWeightsContext context) override {
    changes_.set_client_weights(context.getParams());
    return kj::READY_NOW;
  }

  kj::Promise<void> rings(RingsContext context) override {
    write_rings(node_, context.getResults().initRings());
    return kj::READY_NOW;
  }

  kj::Promise<void> replication(ReplicationContext context) override {
    write_replication(node_, context.getResults().initReplication());
    return kj::READY_NOW;
  }

  kj::Promise<void> rows(RowsContext context) override {
    write_rows(node_, context.getParams(), context.getResults());
    return kj::READY_NOW;
  }

  kj::Promise<void> bucketSums(BucketSumsContext context) override {
    write_bucket_sums(node_, context.getParams().getKind(), context.getParams().getOrigin(),
                      context.getResults());
    return kj::READY_NOW;
  }

  kj::Promise<void> explain(ExplainContext context) override {
    auto params = context.getParams();
    const auto body = params.getBody();
    auto pair = kj::newPromiseAndCrossThreadFulfiller<net::Result<Explanation>>();
    // A std::function must be copyable.
    auto fulfiller = std::make_shared<decltype(pair.fulfiller)>(kj::mv(pair.fulfiller));
    node_.admin_host().explain(
        text_of(params.getPath()),
        std::string(reinterpret_cast<const char*>(body.begin()), body.size()),
        [fulfiller](net::Result<Explanation> explanation) {
          (*fulfiller)->fulfill(std::move(explanation));
        });
    return pair.promise.then([this, context](net::Result<Explanation>&& explanation) mutable {
      if (!explanation) {
        // The exception's description is what dualmeshctl prints.
        kj::throwFatalException(kj::Exception(kj::Exception::Type::FAILED, __FILE__, __LINE__,
                                              kj::str(explanation.error().message.c_str())));
      }
      write_explanation(*explanation, context.getResults());
    });
  }

  kj::Promise<void> decisions(DecisionsContext context) override {
    auto records = node_.admin_host().decisions(context.getParams().getLast());
    if (const std::uint64_t id = context.getParams().getId(); id != 0) {
      std::erase_if(records, [id](const auto& record) { return record.id != id; });
    }
    const DecisionWriter writer(node_);
    auto out = context.getResults().initDecisions(static_cast<unsigned>(records.size()));
    for (unsigned i = 0; i < out.size(); ++i) writer.write(records[i], out[i]);
    return kj::READY_NOW;
  }

  kj::Promise<void> setBeacon(SetBeaconContext context) override {
    context.getResults().setAtNs(node_.set_beacon(context.getParams().getValue()));
    return kj::READY_NOW;
  }

  kj::Promise<void> beacons(BeaconsContext context) override {
    const auto& seen = node_.beacons();
    auto out = context.getResults().initSeen(static_cast<unsigned>(seen.size()));
    for (unsigned i = 0; i < out.size(); ++i) {
      const crdt::Member* member = node_.state().members().find(seen[i].node);
      out[i].setNode(member == nullptr ? hex(seen[i].node.value) : member->name);
      out[i].setValue(seen[i].value);
      out[i].setAtNs(seen[i].at_ns);
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> metrics(MetricsContext context) override {
    context.getResults().setText(node_.admin_host().metrics() + mesh_metrics(node_));
    return kj::READY_NOW;
  }

  kj::Promise<void> drain(DrainContext) override {
    changes_.drain();
    return kj::READY_NOW;
  }

  kj::Promise<void> kv(KvContext context) override {
    if (const KvAnswers* answers = node_.admin_host().kv()) {
      write_kv(node_, *answers, text_of(context.getParams().getInstance()),
               context.getResults().initKv());
    }
    return kj::READY_NOW;
  }

  kj::Promise<void> kvBlocks(KvBlocksContext context) override {
    KvAnswers* answers = node_.admin_host().kv();
    if (answers == nullptr) return kj::READY_NOW;
    auto params = context.getParams();
    return kv_cut(*answers, text_of(params.getInstance()), params.getRank())
        .then([context](std::shared_ptr<const StreamCut> cut) mutable {
          if (cut) write_kv_blocks(*cut, context.getParams().getBuckets(), context.getResults());
        });
  }

  kj::Promise<void> kvSteps(KvStepsContext context) override {
    KvAnswers* answers = node_.admin_host().kv();
    if (answers == nullptr) return kj::READY_NOW;
    auto params = context.getParams();
    return kv_step_times(*answers, text_of(params.getInstance()), params.getRank())
        .then([context](std::vector<KvStepTime>&& steps) mutable {
          write_kv_steps(steps, context.getResults());
        });
  }

 private:
  static void write_blocks(const Explanation::Hit& hit, wire::Estimate::Builder out) {
    out.setHitBlocks(hit.block_tokens == 0 ? 0 : hit.tokens / hit.block_tokens);
    if (hit.rank) out.setRank(static_cast<std::int32_t>(*hit.rank));
  }

  void write_explanation(const Explanation& explanation, wire::Admin::ExplainResults::Builder out) {
    const DecisionWriter writer(node_);
    writer.write(explanation.decision, out.initDecision());
    for (auto candidate : out.getDecision().getCandidates()) {
      for (const Explanation::Hit& hit : explanation.hits) {
        const bool same = candidate.getInstance().asReader() == writer.name(hit.slot).c_str();
        if (same) write_blocks(hit, candidate);
      }
    }
    auto hits = out.initHits(static_cast<unsigned>(explanation.hits.size()));
    for (unsigned i = 0; i < hits.size(); ++i) {
      const Explanation::Hit& hit = explanation.hits[i];
      hits[i].setInstance(writer.name(hit.slot));
      hits[i].setHitTokens(hit.tokens);
      write_blocks(hit, hits[i]);
      hits[i].setRanks(hit.ranks);
      hits[i].setSource(policies::to_string(hit.source));
      hits[i].setUnavailable(unavailable(hit.slot));
    }
  }

  std::string unavailable(policies::Slot slot) {
    const auto& instances = node_.view()->instances;
    if (slot < instances.size() && instances[slot].lifecycle != policies::Lifecycle::active) {
      return to_string(instances[slot].lifecycle);
    }
    const InstanceFacts facts = node_.admin_host().facts(slot);
    return facts.healthy ? "" : "unhealthy: " + facts.unhealthy_reason;
  }

  void write_policies_per_node(const std::vector<std::string>& names,
                               wire::Admin::PolicyResults::Builder out) const {
    std::vector<std::pair<std::string, std::string>> per_node;
    const std::string& own = node_.view()->settings.policy;  // it may have parameters
    const auto policy_of = [&](std::uint64_t hash) -> std::string {
      const auto fits = [hash](const std::string& policy) {
        return XXH3_64bits(policy.data(), policy.size()) == hash;
      };
      if (fits(own)) return own;
      const auto name = std::find_if(names.begin(), names.end(), fits);
      return name == names.end() ? "unknown" : *name;
    };
    node_.state().members().for_each([&](crdt::NodeId id, const crdt::Member& member) {
      if (id == node_.state().self().node) {
        per_node.emplace_back(member.name, own);
      } else if (const auto* column = node_.state().statuses().find(id)) {
        const auto* said = column->feed.find(static_cast<std::uint8_t>(StatusKey::policy));
        if (said != nullptr) per_node.emplace_back(member.name, policy_of(said->value));
      }
    });
    auto list = out.initPerNode(static_cast<unsigned>(per_node.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setName(per_node[i].first);
      list[i].setPolicy(per_node[i].second);
    }
  }

  MeshNode& node_;
  AdminChanges changes_;
};

}  // namespace

wire::Admin::Client make_admin_service(MeshNode& node, const net::IncomingPeer& caller) {
  return kj::heap<AdminServer>(node, caller);
}

}  // namespace dualmesh::node
