// dualmeshctl: asks a node, or all of them, and prints the answer. Reads the command line only;
// each command is a function of node/ctl/commands.h.
#include <CLI/CLI.hpp>
#include <ctime>
#include <functional>

#include "node/ctl/commands.h"
#include "node/ctl/duration.h"
#include "node/ctl/help.h"
#include "node/program/usage.h"

namespace {

namespace ctl = dualmesh::node::ctl;
using dualmesh::wire::InstanceAction;

struct Arguments {
  std::string node = "127.0.0.1:7000";
  bool json = false;
  dualmesh::net::CertificateFiles tls;
  std::string policy;
  ctl::WeightsSet weights;
  std::vector<std::string> cleared;
  bool clear_all = false;
  ctl::InstanceChange change;
  std::string a, b, stream;
  std::uint32_t timeout_ms = 10'000;
  ctl::ExplainQuery explain{.prompt_file = {}, .model = {}, .path = "/v1/chat/completions"};
  std::uint32_t last = 20;
  std::uint64_t decision = 0;
  ctl::WatchQuery watch;
  std::string kv_instance;
  bool new_key = false;
};

using Command = std::function<int(ctl::Session&)>;

// Leaves milliseconds; CLI11's own unit check does not say which units there are.
std::string to_milliseconds(std::string& text) {
  const auto parsed = ctl::duration_ms(text);
  if (!parsed) return parsed.error().message;
  text = std::to_string(*parsed);
  return {};
}

void add_certificate(CLI::App& app, dualmesh::net::CertificateFiles& files) {
  auto* ca = app.add_option("--ca", files.ca, "PEM file of the mesh's CA; without: no TLS")
                 ->envname("DUALMESH_CA");
  auto* certificate =
      app.add_option("--certificate", files.certificate, "PEM file of a certificate that it signed")
          ->envname("DUALMESH_CERTIFICATE");
  auto* key = app.add_option("--key", files.key, "PEM file of that certificate's key")
                  ->envname("DUALMESH_KEY");
  ca->needs(certificate)->needs(key);
  certificate->needs(ca);
  key->needs(ca);
}

void add_mesh_commands(CLI::App& app, const Arguments& arguments, Command& command,
                       std::string& policy) {
  const auto simple = [&](const char* name, const char* description, int (*run)(ctl::Session&)) {
    app.add_subcommand(name, description)->callback([&command, run] { command = run; });
  };
  simple("status", "one node: readiness, counters, digests", ctl::run_status);
  simple("members", "the nodes as this one sees them", ctl::run_members);
  simple("instances", "the inference instances: state, health, load", ctl::run_instances);
  simple("rings", "ring members and digests, and whether all nodes agree", ctl::run_rings);
  simple("lag", "every node's position in every stream, and the milliseconds", ctl::run_lag);
  simple("metrics", "Prometheus text", ctl::run_metrics);
  simple("drain", "stop taking requests, finish what runs, then exit", ctl::run_drain);
  auto* show = app.add_subcommand("policy", "show or set the routing policy of the whole mesh");
  show->require_subcommand(0, 1);
  show->callback([&command] {
    if (!command) command = ctl::run_policy;
  });
  auto* set = show->add_subcommand("set", "set it on all nodes");
  set->add_option("policy", policy, "NAME[:KEY=NUMBER,...][@ORDER], such as dualmap@vtc")
      ->required();
  set->callback([&] {
    command = [&](ctl::Session& session) { return ctl::run_policy_set(session, arguments.policy); };
  });
}

void add_weight_commands(CLI::App& app, Arguments& arguments, Command& command) {
  auto* show = app.add_subcommand("weights", "show or set the clients' weights of the whole mesh");
  show->require_subcommand(0, 1);
  show->callback([&command] {
    if (!command) command = ctl::run_weights;
  });
  auto* set = show->add_subcommand("set", "set some clients' on all nodes, over the nodes' files");
  set->add_option("weights", arguments.weights.items,
                  "NAME=WEIGHT (tenant, API key or `user`) or #KEY=WEIGHT");
  set->add_option("--file", arguments.weights.file, "more of them, one a line");
  set->add_flag("--force", arguments.weights.force, "also of clients that no node knows");
  set->callback([&] {
    command = [&](ctl::Session& session) {
      return ctl::run_weights_set(session, arguments.weights);
    };
  });
  auto* clear = show->add_subcommand("clear", "what was set goes: the nodes' files count again");
  clear->add_option("clients", arguments.cleared, "NAME or #KEY, as `weights` shows them");
  clear->add_flag("--all", arguments.clear_all, "of all clients");
  clear->callback([&] {
    command = [&](ctl::Session& session) {
      return ctl::run_weights_clear(session, arguments.cleared, arguments.clear_all);
    };
  });
}

void add_key_command(CLI::App& app, Arguments& arguments, Command& command) {
  auto* hash = app.add_subcommand("hash-key", "an API key as the configuration takes it, hashed");
  hash->add_flag("--new", arguments.new_key, "make a random key; else it is read from stdin");
  hash->callback([&] {
    command = [&](ctl::Session& session) { return ctl::run_hash_key(session, arguments.new_key); };
  });
}

void add_instance_commands(CLI::App& app, Arguments& arguments, Command& command) {
  auto* instance = app.add_subcommand("instance", "add, drain, resume or remove an instance");
  instance->require_subcommand(1);
  const auto action = [&](const char* name, const char* description, InstanceAction kind) {
    auto* sub = instance->add_subcommand(name, description);
    sub->add_option("name", arguments.change.name, "name of the instance")->required();
    sub->callback([&arguments, &command, kind] {
      arguments.change.action = kind;
      command = [&](ctl::Session& s) { return ctl::run_instance_change(s, arguments.change); };
    });
    return sub;
  };
  auto* add = action("add", "add it, or change it: models, weight and KV events start anew",
                     InstanceAction::ADD);
  add->add_option("address", arguments.change.address, "HOST:PORT of its OpenAI API")->required();
  add->add_option("--model", arguments.change.models,
                  "a model it serves, repeatable; without: asked of the instance");
  add->add_option("--weight", arguments.change.weight, "its share of the ring")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add->add_option("--kv-events", arguments.change.kv_events,
                  "where its engine publishes KV events; without: nowhere,\n"
                  "also where an address was given before.\n"
                  "tcp://HOST:PORT[,replay=tcp://HOST:PORT][,ranks=N][,topic=TEXT]")
      ->type_name("ENDPOINTS");
  auto* drain = action("drain", "give it nothing new", InstanceAction::DRAIN);
  auto* wait = drain->add_flag("--wait", arguments.change.wait,
                               "return when it has no request left at any live node");
  drain
      ->add_option("--timeout", arguments.change.timeout_ms,
                   "of --wait, for example 30s or 10m (5m); exit status 1 when it is over")
      ->transform(CLI::Validator(to_milliseconds, "TIME"))
      ->needs(wait);
  action("resume", "make it active again", InstanceAction::RESUME);
  action("remove", "take it out of the mesh; config and DNS do not bring it back",
         InstanceAction::REMOVE);
}

void add_kv_command(CLI::App& app, Arguments& arguments, Command& command) {
  auto* kv = app.add_subcommand("kv", "what is known of the instances' caches by their KV events");
  kv->add_option("instance", arguments.kv_instance, "one of them, or INSTANCE/RANK, in full");
  kv->callback(
      [&] { command = [&](ctl::Session& s) { return ctl::run_kv(s, arguments.kv_instance); }; });
}

void add_convergence_commands(CLI::App& app, Arguments& arguments, Command& command) {
  auto* diff = app.add_subcommand("diff", "the rows that two nodes hold differently");
  diff->add_option("node-a", arguments.a, "name or mesh address of a node")->required();
  diff->add_option("node-b", arguments.b, "name or mesh address of another")->required();
  diff->add_option("stream", arguments.stream, "registry, load/node-a, ... as lag names it (all)");
  diff->callback([&] {
    command = [&](ctl::Session& s) {
      return ctl::run_diff(s, arguments.a, arguments.b, arguments.stream);
    };
  });
  auto* watch = app.add_subcommand("watch", "all nodes at a glance, again and again until Ctrl-C");
  watch->add_option("--interval", arguments.watch.interval_ms, "for example 500ms or 5s (1s)")
      ->transform(CLI::Validator(to_milliseconds, "TIME"))
      ->check(CLI::Range(100, 3'600'000));
  watch->add_flag("--once", arguments.watch.once, "one look; exit status 1 when not converged");
  watch->callback(
      [&] { command = [&](ctl::Session& s) { return ctl::run_watch(s, arguments.watch); }; });
  auto* wait = app.add_subcommand("wait-converged",
                                  "wait until all nodes hold what was written before the call");
  wait->add_option("--timeout", arguments.timeout_ms, "for example 500ms, 10s or 2m (10s)")
      ->transform(CLI::Validator(to_milliseconds, "TIME"));
  wait->callback([&] {
    command = [&](ctl::Session& s) { return ctl::run_wait_converged(s, arguments.timeout_ms); };
  });
}

void add_request_commands(CLI::App& app, Arguments& arguments, Command& command) {
  auto* explain = app.add_subcommand("explain", "where a prompt would go now, and why");
  explain
      ->add_option("--prompt-file", arguments.explain.prompt_file,
                   "text, taken as one user message; or .json, posted as it is")
      ->required();
  explain->add_option("--model", arguments.explain.model, "needed where several are served");
  explain->add_option("--path", arguments.explain.path, "endpoint")->capture_default_str();
  explain->callback(
      [&] { command = [&](ctl::Session& s) { return ctl::run_explain(s, arguments.explain); }; });
  auto* decisions = app.add_subcommand("decisions", "the newest routing decisions of this node");
  decisions->add_option("--last", arguments.last, "how many")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  decisions
      ->add_option("number", arguments.decision, "one of them, `decision` in the access log's line")
      ->check(CLI::PositiveNumber);
  decisions->callback([&] {
    command = [&](ctl::Session& s) {
      return ctl::run_decisions(s, arguments.last, arguments.decision);
    };
  });
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  Command command;
  CLI::App app("Admin CLI of a dualmesh: asks any node over Cap'n Proto.", "dualmeshctl");
  app.fallthrough();
  app.require_subcommand(1);
  app.add_option("--node", arguments.node, "mesh address HOST:PORT of a node")
      ->envname("DUALMESH_NODE")
      ->capture_default_str();
  app.add_flag("--json", arguments.json, "print JSON");
  add_certificate(app, arguments.tls);
  add_mesh_commands(app, arguments, command, arguments.policy);
  add_weight_commands(app, arguments, command);
  add_instance_commands(app, arguments, command);
  add_kv_command(app, arguments, command);
  add_key_command(app, arguments, command);
  add_convergence_commands(app, arguments, command);
  add_request_commands(app, arguments, command);
  ctl::add_help(app);
  if (const auto status = dualmesh::node::parse(app, argc, argv)) return *status;
  std::shared_ptr<const dualmesh::net::MeshCertificate> certificate;
  if (arguments.tls.any()) {
    auto loaded = dualmesh::net::MeshCertificate::load(arguments.tls, std::time(nullptr));
    if (!loaded) return ctl::failed(loaded.error());
    certificate = std::move(*loaded);
  }
  ctl::Session session(arguments.node, arguments.json, std::move(certificate));
  return command(session);
}
