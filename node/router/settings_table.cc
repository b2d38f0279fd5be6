#include <array>

#include "node/router/settings_rows.h"

namespace dualmesh::node {
namespace {

void add_node(std::vector<Setting>& table) {
  table.insert(
      table.end(),
      {{"node.name", TEXT(mesh.node_name),
        "Name of this node, unique in the mesh and kept over restarts. Empty: the host name."},
       {"node.io_threads", COUNT(io_threads), "Threads that serve requests. 0: one per core.", 0,
        255},
       {"node.log_level",
        TEXT(log_level),
        "How much is logged.",
        0,
        0,
        TextRule::one_of,
        {"trace", "debug", "info", "warn", "error", "critical", "off"}},
       {"node.log_file", TEXT(log_file), "Log file, appended to. Empty: standard error."},
       {"node.state_dir", TEXT(mesh.state_dir),
        "Directory in which the instance registry and the mesh's settings survive a restart of the "
        "whole mesh. Empty: nowhere."},
       {"node.drain_timeout_s", COUNT(drain_timeout_s),
        "How long SIGTERM lets requests in flight finish before they are broken off.", 0, kDay_s}});
}

void add_mesh(std::vector<Setting>& table) {
  table.insert(
      table.end(),
      {address("mesh.listen", TEXT(mesh.listen), "Where other nodes and dualmeshctl connect."),
       optional_address("mesh.advertise", TEXT(mesh.advertise),
                        "The mesh address as other nodes dial it. Empty: as listened."),
       {"mesh.seeds", TEXTS(mesh.seeds), "Mesh addresses of other nodes; our own is ignored.", 0, 0,
        TextRule::address},
       optional_address("mesh.dns", TEXT(mesh_dns),
                        "NAME:PORT whose A and AAAA records are the nodes; looked up again while "
                        "running. Empty: not used."),
       {"mesh.dns_interval_s", COUNT(mesh_dns_interval_s), "Seconds between those look-ups.", 1,
        kDay_s},
       {"mesh.cluster", TEXT(mesh.cluster), "Nodes with another cluster name are refused.", 0, 0,
        TextRule::not_empty},
       {"mesh.alone", FLAG(mesh.alone), "Serve without having met another node."},
       {"mesh.insecure", FLAG(mesh.insecure),
        "Allow a mesh listener beyond loopback without TLS: only in a network you trust."},
       {"mesh.tls.ca", TEXT(mesh.tls.ca),
        "PEM file of the CA that signs the certificates of all nodes and administrators; no other "
        "is trusted. Empty, like the next two: no TLS."},
       {"mesh.tls.certificate", TEXT(mesh.tls.certificate),
        "PEM file of this node's certificate, node.name among its DNS names."},
       {"mesh.tls.key", TEXT(mesh.tls.key), "PEM file of that certificate's key."},
       {"mesh.tls.check_interval_ms", COUNT(mesh.tls_check_interval_ms),
        "How often those files are looked at; renewed ones serve new connections.", 10, kDay_ms},
       {"mesh.hello_timeout_ms", COUNT(mesh.hello_timeout_ms),
        "An incoming connection without an accepted hello by then is closed.", 10, kDay_ms},
       {"mesh.max_messages_per_s", COUNT(mesh.max_messages_per_s),
        "Messages taken from one connection of the mesh; the rest waits at the sender.", 100,
        10'000'000},
       {"mesh.max_bytes_per_s", SIZE(mesh.max_bytes_per_s),
        "Bytes taken from one connection of the mesh; the rest waits at the sender.", 64 * kKiB,
        1024 * kGiB},
       {"mesh.flush_interval_ms", COUNT(mesh.flush_interval_ms),
        "Shortest time between pushes under sustained change; a first change goes at once, one "
        "that nobody waits for within four times as long.", 1,
        10'000},
       {"mesh.max_push_bytes", COUNT(mesh.max_push_bytes),
        "A larger delta is cut and goes on with the next push.", kKiB, 1024 * kKiB},
       {"mesh.positions_interval_ms", COUNT(mesh.positions_interval_ms),
        "Time between digest exchanges, each with one peer at random.", 10, kDay_ms},
       {"mesh.redial_min_ms", COUNT(mesh.redial_min_ms), "First pause before dialling again.", 1,
        kDay_ms},
       {"mesh.redial_max_ms", COUNT(mesh.redial_max_ms), "Longest pause before dialling again.", 1,
        kDay_ms},
       {"mesh.call_timeout_ms", COUNT(mesh.call_timeout_ms),
        "A push or hello not answered by then drops the link.", 10, kDay_ms},
       {"mesh.ping_interval_ms", COUNT(mesh.ping_interval_ms), "Time between pings of each peer.",
        10, kDay_ms},
       {"mesh.ping_timeout_ms", COUNT(mesh.ping_timeout_ms),
        "A ping not answered by then is a miss.", 10, kDay_ms},
       {"mesh.suspect_after_misses", COUNT(mesh.suspect_after_misses),
        "Misses in a row that make a peer suspect.", 1, 1'000},
       {"mesh.suspicion_ms", COUNT(mesh.suspicion_ms),
        "A suspect that has not answered for this long is dead; up to three times as long while no "
        "other node finds it silent.",
        10, kDay_ms},
       {"mesh.indirect_probes", COUNT(mesh.indirect_probes),
        "Peers asked to try a node that we cannot reach.", 0, 32},
       {"mesh.max_members", COUNT(mesh.max_members),
        "Most nodes known; the dead are remembered until then.", 1, 100'000},
       {"mesh.join_timeout_ms", COUNT(mesh.join_timeout_ms),
        "Not joined by then: keeps trying, and says so in the log.", 10, kDay_ms},
       {"mesh.max_instances", COUNT(mesh.max_instances),
        "Most instances in use at a time; removed ones do not count.", 1, 60'000},
       {"mesh.collection_horizon_s", COUNT(mesh.collection_horizon_s),
        "Removed instances are remembered for this long at least.", 1, 365 * kDay_s},
       {"mesh.max_placements", COUNT(mesh.max_placements),
        "Own prefix placements shared; beyond it the oldest expire first.", 1'000, 100'000'000}});
}

void add_log(std::vector<Setting>& table) {
  table.insert(
      table.end(),
      {{"log.access_file", TEXT(access_file),
        "File to which a line of JSON is written per request, opened anew when it is renamed or on "
        "SIGHUP. \"-\": standard output. Empty: nowhere."},
       {"log.access_waiting_records", COUNT(access_waiting_records),
        "Lines that may wait to be written; more are dropped and counted.", 1, 10'000'000}});
}

std::vector<Setting> make_table() {
  std::vector<Setting> table;
  add_node(table);
  add_http(table);
  add_mesh(table);
  add_instances(table);
  add_routing(table);
  add_residency(table);
  add_kv(table);
  add_log(table);
  return table;
}

constexpr std::array<SettingSection, 8> kSections = {{
    {"node", "This process."},
    {"http", "Clients on one side, inference instances on the other."},
    {"mesh", "The other nodes."},
    {"instances", "How inference instances are found and watched. Fixed ones are [[instance]]."},
    {"routing", "How a request finds its instance."},
    {"residency", "What is believed to be in the instances' prefix caches."},
    {"kv", "What is known of those caches, from the KV events of instances that have `kv_events`."},
    {"log", "What is written down of requests. node.log_level is of what the node says of itself."},
}};

}  // namespace

std::span<const Setting> all_settings() {
  static const std::vector<Setting> table = make_table();
  return table;
}

std::span<const SettingSection> all_sections() { return kSections; }

const Setting* find_setting(std::string_view key) {
  for (const Setting& setting : all_settings()) {
    if (setting.key == key) return &setting;
  }
  return nullptr;
}

}  // namespace dualmesh::node
