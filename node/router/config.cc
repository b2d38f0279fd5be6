#include "node/router/config.h"

#include <spdlog/fmt/fmt.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "net/destination.h"
#include "net/server_certificate.h"
#include "node/kv/kv_endpoints.h"
#include "node/router/settings_table.h"

namespace dualmesh::node {
namespace {

constexpr std::size_t kShortestSecret = 32;

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "node";
}

// "# " comment lines of at most 96 columns.
std::string comment(std::string_view text) {
  std::string out;
  std::string line = "#";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    if (line.size() + 1 + (end - at) > 96) {
      out += line + "\n";
      line = "#";
    }
    line += ' ';
    line += text.substr(at, end - at);
    at = end + 1;
  }
  return out + line + "\n";
}

// Whether http.listen is for others: beside a TLS listener, one on loopback is this host's own.
bool others_can_dial(const Config& config) {
  net::HostPort http, mesh;
  if (!net::split_destination(config.http_listen, http, net::PortZero::allowed)) return false;
  if (config.http_tls_listen.empty() || !net::is_loopback(http.host)) return true;
  return net::split_destination(config.mesh.listen, mesh, net::PortZero::allowed) &&
         net::is_loopback(mesh.host);
}

void check_listeners(const Config& config, const std::string& where, ConfigProblems& problems) {
  const auto problem = [&](std::string text) { problems.push_back({where, std::move(text)}); };
  if (config.http_listen.empty() && config.http_tls_listen.empty()) {
    problem("http.listen: empty like http.tls.listen; clients need one of them");
  }
  const int set = !config.http_tls_listen.empty() + !config.http_tls.certificate.empty() +
                  !config.http_tls.key.empty();
  if (set != 0 && set != 3) {
    problem("http.tls.listen, http.tls.certificate and http.tls.key belong together: set all or "
            "none");
  }
  if (config.http_listen.empty() && !config.mesh.http_advertise.empty()) {
    problem("http.advertise: needs http.listen; other nodes hand requests on without TLS");
  }
  const std::pair<std::string_view, const std::string&> listeners[] = {
      {"mesh.listen", config.mesh.listen},
      {"http.listen", config.http_listen},
      {"http.tls.listen", config.http_tls_listen}};
  for (std::size_t i = 0; i < std::size(listeners); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const auto& [name, address] = listeners[i];
      if (address.empty() || address != listeners[j].second || address.ends_with(":0")) continue;
      problem(fmt::format("{}: {} is {} as well; each needs a port of its own", name, address,
                          listeners[j].first));
    }
  }
}

void check_folder(const char* setting, const std::string& file, const std::string& where,
                  ConfigProblems& problems) {
  const std::size_t slash = file.rfind('/');
  if (slash == std::string::npos) return;
  const std::string folder = file.substr(0, slash + 1);
  if (::access(folder.c_str(), W_OK) == 0) return;
  problems.push_back({where, fmt::format("{}: nothing can be written into {}", setting, folder)});
}

void check_identity(const Config& config, const std::string& where, ConfigProblems& problems) {
  std::vector<std::string> weights = config.client_weights;
  std::string problem = policies::ClientWeights().read(weights);
  if (!problem.empty()) problems.push_back({where, "routing.client_weights: " + problem});
  if (const auto directory = make_directory(config.identity)) {
    weights.insert(weights.end(), directory->weights().begin(), directory->weights().end());
  } else {
    problems.push_back({where, directory.error().message});
  }
  if (problem.empty() && !(problem = policies::ClientWeights().read(weights)).empty()) {
    problems.push_back({where, "tenant.weight, with routing.client_weights: " + problem});
  }
  const std::string& secret = config.identity.namespace_secret;
  if (!secret.empty() && secret.size() < kShortestSecret) {
    problems.push_back({where, fmt::format("http.namespace_secret: has {} characters; must have at "
                                           "least {}, or be empty",
                                           secret.size(), kShortestSecret)});
  }
  if (config.metrics_token.starts_with("sha256:")) {
    if (const auto digest = read_key_digest(config.metrics_token); !digest) {
      problems.push_back({where, "http.metrics_token: " + digest.error().message});
    }
  }
}

std::string print_tenants(const Config& config) {
  std::string out =
      "\n# Tenants, on whose behalf clients ask; http.tenants_file may hold more. keys: as\n"
      "# dualmeshctl hash-key prints them. weight: share of service (routing.client_weights).\n"
      "# private_prefixes: what is cached for it is used by nobody else (http.namespace_secret).\n";
  if (config.identity.tenants.empty()) {
    out +=
        "# [[tenant]]\n# name = \"search\"\n# keys = [\"sha256:...\"]\n# weight = 1\n"
        "# private_prefixes = false\n";
  }
  for (const TenantSettings& tenant : config.identity.tenants) {
    out += fmt::format("[[tenant]]\nname = {}\n", quoted(tenant.name));
    if (!tenant.keys.empty()) out += fmt::format("# Set, but not shown: {}.\n", tenant.keys.size());
    out += fmt::format("keys = []\nweight = {}\nprivate_prefixes = {}\n", tenant.weight,
                       tenant.private_prefixes);
  }
  return out;
}

}  // namespace

policies::SchedulerSettings scheduler_settings(const Config& config) {
  policies::SchedulerSettings settings = config.scheduler;
  settings.policy = config.mesh.routing.policy;
  settings.queue = config.mesh.routing.queue;
  settings.client_weights = mesh_config(config).routing.client_weights;
  settings.slo_ttft_s = config.mesh.routing.slo_ttft_s;
  settings.prefill_s_per_token = config.prefill_us_per_token / 1e6;
  settings.block_tokens = std::max(1u, config.mesh.chain.block_bytes / config.bytes_per_token);
  return settings;
}

policies::ResidencyIndex::Limits residency_limits(const Config& config) {
  return {config.residency_capacity_blocks, std::chrono::seconds(config.mesh.placement_ttl_s)};
}

MeshConfig mesh_config(const Config& config) {
  MeshConfig mesh = config.mesh;
  if (mesh.node_name.empty()) mesh.node_name = host_name();
  if (mesh.http_advertise.empty() && others_can_dial(config)) {
    mesh.http_advertise = config.http_listen;
  }
  const std::string problem = mesh.routing.client_weights.read(config.client_weights);
  DUALMESH_CHECK(problem.empty(), "check_whole let pass: {}", problem);
  return mesh;
}

ConfigProblems read_flag(const std::string& key, const std::string& value, Config& config) {
  const Setting* setting = find_setting(key);
  if (!setting) return {{"--" + key, "unknown setting"}};
  if (const auto refused = store_text(*setting, value, config)) return {{"--" + key, *refused}};
  return {};
}

std::string check_kv_events(const std::string& text) {
  if (text.empty()) return {};
  const auto endpoints = parse_kv_endpoints(text);
  return endpoints ? "" : endpoints.error().message;
}

ConfigProblems read_instance_flag(const std::string& value, Config& config) {
  SeedInstance instance;
  ConfigProblems problems;
  const auto problem = [&](std::string message) {
    problems.push_back({"--instance " + value, std::move(message)});
  };
  for (std::size_t begin = 0; begin < value.size();) {
    std::size_t end = std::min(value.find(',', begin), value.size());
    if (value.compare(begin, 10, "kv_events=") == 0) end = value.size();  // has commas of its own
    const std::string part = value.substr(begin, end - begin);
    begin = end + 1;
    const std::size_t equals = part.find('=');
    const std::string key = part.substr(0, equals);
    const std::string text = equals == std::string::npos ? "" : part.substr(equals + 1);
    net::HostPort parsed;
    if (text.empty()) {
      problem(fmt::format("\"{}\": must be key=value", part));
    } else if (key == "name") {
      instance.name = text;
    } else if (key == "address") {
      instance.address = text;
      if (!net::split_destination(text, parsed)) {
        problem("instance.address: must be a text of the form HOST:PORT, the port not 0");
      }
    } else if (key == "model") {
      instance.models.push_back(text);
    } else if (key == "weight") {
      const auto [stop, error] =
          std::from_chars(text.data(), text.data() + text.size(), instance.weight);
      if (error != std::errc() || stop != text.data() + text.size() || !(instance.weight > 0) ||
          instance.weight > 1'000) {
        problem("instance.weight: must be a number above 0, at most 1000");
      }
    } else if (key == "kv_events") {
      instance.kv_events = text;
      if (const std::string refused = check_kv_events(text); !refused.empty()) {
        problem("instance.kv_events: " + refused);
      }
    } else {
      problem(
          fmt::format("instance.{}: unknown; allowed: name, address, model, weight, "
                      "kv_events",
                      key));
    }
  }
  if (instance.address.empty()) problem("instance.address: missing; must be HOST:PORT");
  if (instance.name.empty()) instance.name = instance.address;
  if (problems.empty()) config.mesh.instances.push_back(std::move(instance));
  return problems;
}

ConfigProblems check_whole(const Config& config, const std::string& where) {
  ConfigProblems problems;
  std::set<std::string> names;
  std::map<std::string, std::string> addresses;
  KvAddresses heard;
  for (const SeedInstance& instance : config.mesh.instances) {
    const auto ends = parse_kv_endpoints(instance.kv_events);
    if (const auto clash = ends ? heard.add(instance.name, *ends) : std::nullopt) {
      problems.push_back(
          {where, fmt::format("instance.kv_events: {} is that of \"{}\" and of \"{}\"; {}",
                              clash->address, clash->other, instance.name, clash->why)});
    }
    const auto [other, fresh] = addresses.try_emplace(instance.address, instance.name);
    if (!fresh && other->second != instance.name) {
      problems.push_back(
          {where, fmt::format("instance.address: {} is that of \"{}\" and of \"{}\"; "
                              "one server is one instance",
                              instance.address, other->second, instance.name)});
    }
    if (!names.insert(instance.name).second) {
      problems.push_back(
          {where,
           fmt::format("instance.name: \"{}\" is there twice; names must differ", instance.name)});
    }
  }
  check_identity(config, where, problems);
  net::HostPort listen;
  if (net::split_destination(config.mesh.listen, listen, net::PortZero::allowed) &&
      !net::is_loopback(listen.host)) {
    if (!config.mesh.insecure && !config.mesh.tls.any()) {
      problems.push_back(
          {where, fmt::format("mesh.listen: {} is beyond loopback and the mesh has no TLS; set "
                              "mesh.tls, or mesh.insecure = true in a network you trust",
                              config.mesh.listen)});
    }
    if (net::is_everywhere(listen.host) && config.mesh.advertise.empty()) {
      problems.push_back({where, fmt::format("mesh.advertise: missing; mesh.listen {} is every "
                                             "address of this machine, and others need one to dial",
                                             config.mesh.listen)});
    }
  }
  check_listeners(config, where, problems);
  check_folder("node.log_file", config.log_file, where, problems);
  check_folder("log.access_file", config.access_file, where, problems);
  if (!config.mesh.alone && config.mesh.seeds.empty() && config.mesh_dns.empty()) {
    problems.push_back(
        {where, "mesh: nothing to join; set mesh.seeds, mesh.dns or mesh.alone = true"});
  }
  if (config.mesh.redial_min_ms > config.mesh.redial_max_ms) {
    problems.push_back({where, "mesh.redial_min_ms: must not exceed mesh.redial_max_ms"});
  }
  if (config.http_limits.body_bytes > config.http_limits.held_body_bytes) {
    problems.push_back({where, "http.max_body_bytes: must not exceed http.max_held_body_bytes"});
  }
  return problems;
}

ConfigProblems check_certificate(const Config& config, const std::string& where,
                                 std::int64_t now_s) {
  if (config.http_tls_listen.empty()) return {};
  const auto loaded = net::ServerCertificate::load(config.http_tls, now_s);
  if (loaded) return {};
  return {{where, "http.tls: " + loaded.error().message}};
}

std::string print_toml(const Config& config) {
  const Config defaults;
  std::string out;
  for (const SettingSection& section : all_sections()) {
    out += fmt::format("{}{}[{}]\n", out.empty() ? "" : "\n", comment(section.help), section.name);
    for (const Setting& setting : all_settings()) {
      if (setting.section() != section.name) continue;
      const std::string standard = value_as_toml(setting, defaults);
      out += "\n" + comment(setting.help);
      out += comment(fmt::format("Allowed: {}. Default: {}.", describe_allowed(setting), standard));
      const std::string value = value_as_toml(setting, config);
      if (setting.secret && value != standard) out += "# Set, but not shown.\n";
      out += fmt::format("{} = {}\n", setting.name(), setting.secret ? standard : value);
    }
  }
  out += "\n# Inference instances; name defaults to the address, models to what /v1/models says.\n";
  if (config.mesh.instances.empty()) {
    out +=
        "# [[instance]]\n# name = \"e1\"\n# address = \"127.0.0.1:8000\"\n"
        "# models = [\"my-model\"]\n# weight = 1\n"
        "# kv_events = \"tcp://127.0.0.1:5557,replay=tcp://127.0.0.1:5558\"\n";
  }
  for (const SeedInstance& instance : config.mesh.instances) {
    std::string models;
    for (const std::string& model : instance.models) {
      models += (models.empty() ? "" : ", ") + quoted(model);
    }
    out += fmt::format(
        "[[instance]]\nname = {}\naddress = {}\nmodels = [{}]\nweight = {}\nkv_events = {}\n",
        quoted(instance.name), quoted(instance.address), models, instance.weight,
        quoted(instance.kv_events));
  }
  return out + print_tenants(config);
}

}  // namespace dualmesh::node
