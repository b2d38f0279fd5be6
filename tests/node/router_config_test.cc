// The table of settings, and the TOML and flags that follow from it. Messages are checked whole:
// they are what people have when a node does not start.
#include <doctest/doctest.h>

#include <set>

#include "node/router/command_line.h"
#include "node/router/config.h"
#include "node/router/settings_table.h"
#include "policies/scheduler.h"

using namespace dualmesh::node;

namespace {

std::string problems_of(std::string_view toml) {
  Config config;
  std::string all;
  for (const ConfigProblem& problem : read_toml(toml, "d.toml", config)) {
    all += problem.text() + "\n";
  }
  return all;
}

Config good(std::string_view toml) {
  Config config;
  const auto problems = read_toml(toml, "d.toml", config);
  for (const ConfigProblem& problem : problems) FAIL_CHECK(problem.text());
  return config;
}

std::string text_of(const ConfigProblems& problems) {
  std::string all;
  for (const ConfigProblem& problem : problems) all += problem.text() + "\n";
  return all;
}

}  // namespace

TEST_CASE("keys are unique, belong to a section and have help and a fitting default") {
  std::set<std::string_view> keys;
  std::set<std::string_view> sections;
  for (const SettingSection& section : all_sections()) sections.insert(section.name);
  for (const Setting& setting : all_settings()) {
    CAPTURE(setting.key);
    CHECK(keys.insert(setting.key).second);
    CHECK(sections.contains(setting.section()));
    CHECK(!setting.help.empty());
    // The default must pass its own check.
    Config config;
    const std::string toml = "[" + std::string(setting.section()) + "]\n" +
                             std::string(setting.name()) + " = " + value_as_toml(setting, config);
    CHECK(text_of(read_toml(toml, "d.toml", config)) == "");
  }
  CHECK(keys.size() > 70);
}

TEST_CASE("a file sets what it names and nothing else") {
  const Config config = good(R"(
[node]
name = "a"
io_threads = 3
[http]
listen = "[::1]:8081"
max_body_bytes = 65536
idle_timeout_ms = 7000
max_connection_age_s = 60
api_keys = ["k1", "k2"]
[mesh]
seeds = ["127.0.1.2:7000"]
alone = true
[routing]
policy = "round_robin"
slo_ttft_s = 2
prefill_us_per_token = 12.5
[kv]
observers = 0
flush_interval_ms = 5
tokenize = "off"
[[instance]]
name = "e1"
address = "127.0.0.1:9001"
models = ["m", "n"]
weight = 2
kv_events = "tcp://127.0.0.1:5557,replay=tcp://127.0.0.1:5558"
[[instance]]
address = "127.0.0.1:9002"
)");
  CHECK(config.mesh.node_name == "a");
  CHECK(config.io_threads == 3);
  CHECK(config.http_listen == "[::1]:8081");
  CHECK(config.http_limits.body_bytes == 65536);
  CHECK(config.http_limits.idle_timeout == std::chrono::seconds(7));
  CHECK(config.http_limits.max_connection_age == std::chrono::seconds(60));
  CHECK(config.http_limits.head_timeout == std::chrono::seconds(15));
  CHECK(config.identity.api_keys == std::vector<std::string>{"k1", "k2"});
  CHECK(config.mesh.seeds == std::vector<std::string>{"127.0.1.2:7000"});
  CHECK(config.mesh.alone);
  CHECK(config.mesh.routing.policy == "round_robin");
  CHECK(config.mesh.routing.slo_ttft_s == 2.0);
  REQUIRE(config.mesh.instances.size() == 2);
  CHECK(config.mesh.instances[0].models == std::vector<std::string>{"m", "n"});
  CHECK(config.mesh.instances[0].weight == 2.0);
  CHECK(config.mesh.instances[0].kv_events == "tcp://127.0.0.1:5557,replay=tcp://127.0.0.1:5558");
  CHECK(config.mesh.instances[1].name == "127.0.0.1:9002");
  CHECK(config.mesh.instances[1].kv_events.empty());
  CHECK(config.kv.observers == 0);
  CHECK(mesh_config(config).kv_flush_interval_ms == 5);
  CHECK(config.kv.tokenize == "off");
  CHECK(config.kv.max_blocks == 16'000'000);
  CHECK(config.kv.max_stream_blocks == 4'000'000);
  CHECK(config.kv.join_timeout_ms == 10'000);
  CHECK(config.kv.tokenize_timeout_ms == 50);
  CHECK(config.kv.token_cache_mb == 64);

  const auto scheduler = scheduler_settings(config);
  CHECK(scheduler.policy == "round_robin");
  CHECK(scheduler.slo_ttft_s == 2.0);
  CHECK(scheduler.prefill_s_per_token == doctest::Approx(12.5e-6));
  CHECK(scheduler.block_tokens == 512);
}

TEST_CASE("every bad setting is named with its line and what is allowed") {
  struct Row {
    const char* toml;
    const char* problem;
  };
  const Row rows[] = {
      {"[node]\nio_threads = \"two\"",
       "d.toml:2: node.io_threads: must be a whole number from 0 to 255\n"},
      {"[node]\nio_threads = 256",
       "d.toml:2: node.io_threads: must be a whole number from 0 to 255\n"},
      {"[node]\nio_threads = -1",
       "d.toml:2: node.io_threads: must be a whole number from 0 to 255\n"},
      {"[node]\nio_threads = 1.5",
       "d.toml:2: node.io_threads: must be a whole number from 0 to 255\n"},
      {"[node]\nname = 5", "d.toml:2: node.name: must be a text\n"},
      {"[node]\nnam = \"x\"", "d.toml:2: node.nam: unknown setting; did you mean name?\n"},
      {"[residency]\nzzz = 1",
       "d.toml:2: residency.zzz: unknown setting; allowed: capacity_blocks, ttl_s\n"},
      {"\n\n[nods]\nname = \"x\"",
       "d.toml:3: nods: unknown; a file holds the sections [node], [http], [mesh], [instances], "
       "[routing], [residency], [kv], [log], [[instance]] and [[tenant]]\n"},
      {"node = 1", "d.toml:1: node: must be a section, [node]\n"},
      {"[http]\nlisten = \"localhost\"",
       "d.toml:2: http.listen: must be a text of the form IP:PORT or [IPV6]:PORT, or empty\n"},
      {"[http]\nlisten = \"localhost:80\"",
       "d.toml:2: http.listen: must be a text of the form IP:PORT or [IPV6]:PORT, or empty\n"},
      {"[http]\nlisten = \"127.0.0.1:70000\"",
       "d.toml:2: http.listen: must be a text of the form IP:PORT or [IPV6]:PORT, or empty\n"},
      {"[mesh]\nlisten = \"\"", "d.toml:2: mesh.listen: must be a text of the form HOST:PORT\n"},
      {"[mesh]\nlisten = \"::1:80\"",
       "d.toml:2: mesh.listen: must be a text of the form HOST:PORT\n"},
      {"[mesh]\ndns = \"name\"",
       "d.toml:2: mesh.dns: must be a text of the form HOST:PORT, or empty\n"},
      {"[mesh]\nseeds = [\"a:1\", \"b\"]",
       "d.toml:2: mesh.seeds: must be a list, each entry a text of the form HOST:PORT\n"},
      {"[mesh]\nseeds = \"a:1\"",
       "d.toml:2: mesh.seeds: must be a list, each entry a text of the form HOST:PORT\n"},
      {"[mesh]\nseeds = [1]",
       "d.toml:2: mesh.seeds: must be a list, each entry a text of the form HOST:PORT\n"},
      {"[mesh]\nalone = 1", "d.toml:2: mesh.alone: must be true or false\n"},
      {"[mesh]\ncluster = \"\"", "d.toml:2: mesh.cluster: must be a text, not empty\n"},
      {"[routing]\npolicy = \"dualmap:alpha=1\"",
       "d.toml:2: routing.policy: dualmap: there is no parameter 'alpha'; it takes none\n"},
      {"[routing]\npolicy = \"prefix_affinity:limit=0\"",
       "d.toml:2: routing.policy: prefix_affinity: '0' is no value for limit (requests without a "
       "first token from which on others stand in); allowed: 1 to 1e+06\n"},
      {"[routing]\nqueue = \"dlpm:quantum=0\"",
       "d.toml:2: routing.queue: dlpm: '0' is no value for quantum (credit of one refill, in "
       "weighted tokens); allowed: 1 to 1e+12\n"},
      {"[routing]\npolicy = 1",
       "d.toml:2: routing.policy: must be the name of a policy (policies/README.md), or "
       "NAME:KEY=NUMBER,... for other parameters, and then @ORDER for another order of waiting\n"},
      {"[routing]\ninstance_cache_tokens = 0",
       "d.toml:2: routing.instance_cache_tokens: must be a whole number from 1 to 1000000000000\n"},
      {"[routing]\nslo_ttft_s = 0",
       "d.toml:2: routing.slo_ttft_s: must be a number from 0.001 to 3600\n"},
      {"[routing]\nslo_ttft_s = nan",
       "d.toml:2: routing.slo_ttft_s: must be a number from 0.001 to 3600\n"},
      {"[routing]\nlearn = \"yes\"", "d.toml:2: routing.learn: must be true or false\n"},
      {"[instance]\nname = \"e\"", "d.toml:1: instance: must be written [[instance]]\n"},
      {"[[instance]]\nname = \"e\"",
       "d.toml:1: instance.address: missing; must be a text of the form HOST:PORT\n"},
      {"[[instance]]\naddress = \"x\"",
       "d.toml:2: instance.address: must be a text of the form HOST:PORT, the port not 0\n"},
      {"[[instance]]\naddress = \"x:1\"\nweight = 0",
       "d.toml:3: instance.weight: must be a number above 0, at most 1000\n"},
      {"[[instance]]\naddress = \"x:1\"\nkv_events = 5557",
       "d.toml:3: instance.kv_events: must be a text\n"},
      {"[[instance]]\naddress = \"x:1\"\nkv_events = \"h:5557\"",
       "d.toml:3: instance.kv_events: events 'h:5557' must be tcp://HOST:PORT, an IPv6 host in "
       "brackets, or ipc://PATH\n"},
      {"[kv]\nobservers = 65", "d.toml:2: kv.observers: must be a whole number from 0 to 64\n"},
      {"[kv]\nflush_interval_ms = 0",
       "d.toml:2: kv.flush_interval_ms: must be a whole number from 1 to 1000\n"},
      {"[kv]\ntokenize = \"on\"", "d.toml:2: kv.tokenize: must be one of auto, off\n"},
      {"[[instance]]\naddress = \"x:1\"\nmodels = \"m\"",
       "d.toml:3: instance.models: must be a list of texts\n"},
      {"[[instance]]\naddress = \"x:1\"\nmodel = \"m\"",
       "d.toml:3: instance.model: unknown setting; did you mean models?\n"},
  };
  for (const Row& row : rows) {
    CAPTURE(row.toml);
    CHECK(problems_of(row.toml) == row.problem);
  }
  std::string unknown = "d.toml:2: routing.policy: there is no policy 'magic'; allowed:";
  for (const std::string& name : dualmesh::policies::policy_names()) unknown += " " + name;
  CHECK(problems_of("[routing]\npolicy = \"magic\"") == unknown + "\n");
}

TEST_CASE("what is not TOML is refused with its line") {
  const std::string problem = problems_of("[node]\nname = \n");
  CHECK(problem.substr(0, 20) == "d.toml:2: not TOML: ");
}

TEST_CASE("a table name that begins with no key is refused, not an abort in the library") {
  for (const char* bad : {"[#node]\n", "[[#instance]]\n", "[a.#b]\n", "a.=1\n", "[=]\n"}) {
    CAPTURE(bad);
    CHECK(problems_of(bad).substr(0, 20) == "d.toml:1: not TOML: ");
  }
}

TEST_CASE(
    "characters beyond ASCII that the library's tables leave out are refused, not undefined") {
  for (const char* bad : {"seeds = [[\u01bd]:2\"]", "\u00e9 = 2\n", "a = \"\"\"x\\\u01bd\"\"\"",
                          "\"\"\".rd\\\ufffd\u00a1,dres"}) {
    CAPTURE(bad);
    CHECK(problems_of(bad).substr(0, 20) == "d.toml:1: not TOML: ");
  }
  CHECK(problems_of("[node]\nname = \"\"\"a\\\n\u00e9\"\"\"\n").find("not TOML") ==
        std::string::npos);
}

TEST_CASE("several errors are reported together, and good settings beside them are taken") {
  Config config;
  const auto problems = read_toml(
      "[node]\nname = \"a\"\nio_threads = 999\n[http]\nlisten = \"x\"\n[mesh]\nalone = true\n",
      "d.toml", config);
  CHECK(problems.size() == 2);
  CHECK(config.mesh.node_name == "a");
  CHECK(config.mesh.alone);
}

TEST_CASE("the whole is checked for what no single setting tells") {
  Config config =
      good("[[instance]]\nname='e'\naddress='a:1'\n[[instance]]\nname='e'\naddress='a:2'");
  config.mesh.listen = "10.0.0.1:7000";
  CHECK(text_of(check_whole(config, "d.toml")) ==
        "d.toml: instance.name: \"e\" is there twice; names must differ\n"
        "d.toml: mesh.listen: 10.0.0.1:7000 is beyond loopback and the mesh has no TLS; set "
        "mesh.tls, or mesh.insecure = true in a network you trust\n"
        "d.toml: mesh: nothing to join; set mesh.seeds, mesh.dns or mesh.alone = true\n");
  Config alone;
  alone.mesh.alone = true;
  CHECK(check_whole(alone, "").empty());
  alone.client_weights = {"a=2", "secret=0"};
  CHECK(text_of(check_whole(alone, "d.toml")) ==
        "d.toml: routing.client_weights: '0' is no weight; allowed: 0.001 to 1000\n");
  alone.client_weights = {"a=2"};
  CHECK(mesh_config(alone).routing.client_weights.of(dualmesh::policies::client_key("a")) == 2);
  CHECK(scheduler_settings(alone).client_weights.of(dualmesh::policies::client_key("a")) == 2);
  alone.mesh.listen = "0.0.0.0:7000";
  CHECK(check_whole(alone, "").size() == 2);  // no TLS, and no address for others to dial
  alone.mesh.advertise = "10.0.0.1:7000";
  CHECK(check_whole(alone, "").size() == 1);
  alone.mesh.insecure = true;
  CHECK(check_whole(alone, "").empty());
}

TEST_CASE("flags follow the same table") {
  Config config;
  CHECK(read_flag("mesh.seeds", "127.0.1.2:7000, 127.0.1.3:7000", config).empty());
  CHECK(config.mesh.seeds == std::vector<std::string>{"127.0.1.2:7000", "127.0.1.3:7000"});
  CHECK(read_flag("mesh.seeds", "", config).empty());
  CHECK(config.mesh.seeds.empty());
  CHECK(read_flag("mesh.alone", "true", config).empty());
  CHECK(config.mesh.alone);
  CHECK(read_flag("routing.slo_ttft_s", "5", config).empty());
  CHECK(text_of(read_flag("mesh.alone", "yes", config)) ==
        "--mesh.alone: mesh.alone: must be true or false\n");
  CHECK(text_of(read_flag("node.io_threads", "2x", config)) ==
        "--node.io_threads: node.io_threads: must be a whole number from 0 to 255\n");
}

TEST_CASE("instance flags") {
  Config config;
  CHECK(read_instance_flag("name=e1,address=127.0.0.1:9001,model=a,model=b,weight=0.5", config)
            .empty());
  REQUIRE(config.mesh.instances.size() == 1);
  CHECK(config.mesh.instances[0].name == "e1");
  CHECK(config.mesh.instances[0].models == std::vector<std::string>{"a", "b"});
  CHECK(config.mesh.instances[0].weight == 0.5);
  CHECK(read_instance_flag("address=h:1", config).empty());
  CHECK(config.mesh.instances[1].name == "h:1");
  CHECK(read_instance_flag("address=h:2,weight=2,kv_events=tcp://h:5557,ranks=2,topic=kv", config)
            .empty());
  CHECK(config.mesh.instances[2].weight == 2);
  CHECK(config.mesh.instances[2].kv_events == "tcp://h:5557,ranks=2,topic=kv");
  for (const char* bad :
       {"", "name=e", "address=h", "address=h:1,weight=-1", "address=h:1,weight=1x",
        "address=h:1,colour=red", "address=h:1,name=", "address=h:1,kv_events=h:5557"}) {
    CAPTURE(bad);
    CHECK(!read_instance_flag(bad, config).empty());
  }
  CHECK(config.mesh.instances.size() == 3);
}

TEST_CASE("who is a tenant, and with which weight, is checked as a whole") {
  const std::string key = to_text(digest_of("k"));
  const std::string secret = std::string(32, 's');
  const auto problems = [](const std::string& text) {
    Config config;
    const std::string wrong = text_of(read_toml(text + "[mesh]\nalone = true\n", "d.toml", config));
    return wrong.empty() ? text_of(check_whole(config, "d.toml")) : wrong;
  };
  const std::string one = "[[tenant]]\nname = 'a'\nkeys = ['" + key + "']\n";
  const std::string other = "[[tenant]]\nname = 'b'\nkeys = ['" + key + "']\n";
  const std::string own = one + "private_prefixes = true\n";
  CHECK(problems(one) == "");
  CHECK(problems(own + "[http]\nnamespace_secret = '" + secret + "'\n") == "");
  CHECK(problems(own).find("http.namespace_secret") != std::string::npos);
  CHECK(problems(one + other).find("tenant.keys") != std::string::npos);
  CHECK(problems("[http]\nnamespace_secret = 'short'\n").find("has 5 characters") !=
        std::string::npos);
  CHECK(problems("[http]\nmetrics_token = 'sha256:12'\n").find("http.metrics_token") !=
        std::string::npos);
  CHECK(problems("[http]\ntenants_file = '/nowhere/t.toml'\n").find("cannot be read") !=
        std::string::npos);
  CHECK(problems(one + "weight = 2\n[routing]\nclient_weights = ['a=3']\n")
            .find("a client has two weights") != std::string::npos);
  CHECK(problems("[[tenant]]\nname = 'a'\nkeys = ['sk-in-clear']\n").find("sk-in-clear") ==
        std::string::npos);
}

TEST_CASE("what is printed reads back to the same, keys left out") {
  Config config = good(
      "[node]\nname = 'quote\" back\\slash'\n[http]\napi_keys = ['hidden-key']\n[routing]\n"
      "slo_ttft_s = 2.5\n[mesh]\nseeds=['a:1']\n[[instance]]\naddress='h:1'\nmodels=['m']\n"
      "weight=1.5\n"
      "kv_events='tcp://h:2,ranks=2'\n[kv]\ntokenize='off'\n[[tenant]]\nname='a'\nkeys=['" +
      to_text(digest_of("k")) + "']\nweight=0.1\nprivate_prefixes=true");
  const std::string printed = print_toml(config);
  CHECK(printed.find("hidden") == std::string::npos);
  Config again;
  CHECK(text_of(read_toml(printed, "p.toml", again)) == "");
  CHECK(again.identity.api_keys.empty());
  REQUIRE(again.identity.tenants.size() == 1);
  CHECK(again.identity.tenants[0].keys.empty());
  CHECK(again.identity.tenants[0].weight == 0.1);
  again.identity.api_keys = config.identity.api_keys;
  again.identity.tenants[0].keys = config.identity.tenants[0].keys;
  CHECK(print_toml(again) == printed);
  CHECK(again.mesh.node_name == config.mesh.node_name);
  CHECK(again.mesh.instances[0].weight == 1.5);
  CHECK(again.mesh.instances[0].kv_events == "tcp://h:2,ranks=2");
  CHECK(again.kv.tokenize == "off");
}

TEST_CASE("an instance has a port") {
  Config config;
  CHECK(read_instance_flag("address=127.0.0.1:0", config).size() == 1);
  CHECK(read_toml("[[instance]]\naddress = \"a:0\"", "d.toml", config).size() == 1);
  CHECK(config.mesh.instances.empty());
}

TEST_CASE("the command line: flags outrank the file, errors end with status 2") {
  const char* good_line[] = {"dualmeshd",   "--mesh.alone", "true",
                             "--instance",  "address=h:1",  "--instance",
                             "address=h:2", "--node.name",  "b"};
  const auto parsed = read_command_line(std::size(good_line), good_line);
  REQUIRE(parsed.run.has_value());
  CHECK(parsed.run->config.mesh.node_name == "b");
  CHECK(parsed.run->config.mesh.instances.size() == 2);

  const char* bad_value[] = {"dualmeshd", "--mesh.alone", "maybe"};
  CHECK(!read_command_line(std::size(bad_value), bad_value).run);
  CHECK(read_command_line(std::size(bad_value), bad_value).exit_status == 2);
  const char* unknown[] = {"dualmeshd", "--no.such", "1"};
  CHECK(read_command_line(std::size(unknown), unknown).exit_status == 2);
  const char* no_file[] = {"dualmeshd", "--mesh.alone", "true", "--config", "/no/such/file"};
  CHECK(read_command_line(std::size(no_file), no_file).exit_status == 2);
}
