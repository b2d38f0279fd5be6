#include "node/ctl/help.h"

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "net/error.h"

namespace dualmesh::node::ctl {
namespace {

constexpr const char* kExamples =
    "Examples:\n"
    "  dualmeshctl status\n"
    "  dualmeshctl --node 10.0.0.2:7000 members\n"
    "  dualmeshctl instance add h200-1 10.0.1.1:8000 --model llama-3.1-8b\n"
    "  dualmeshctl instance drain h200-1 --wait && dualmeshctl instance remove h200-1\n"
    "  dualmeshctl policy set round_robin && dualmeshctl wait-converged --timeout 10s\n"
    "  dualmeshctl kv h200-1\n"
    "  dualmeshctl watch --interval 500ms\n"
    "  dualmeshctl diff node-a node-b\n"
    "  dualmeshctl explain --prompt-file prompt.txt --model llama-3.1-8b\n"
    "  dualmeshctl decisions --last 5 --json\n"
    "\n"
    "COMMAND --help has more of each. --node, --json and the certificates may follow the "
    "command.\n";

constexpr const char* kShared =
    "Options of every command:\n"
    "  --node HOST:PORT            mesh address of a node (DUALMESH_NODE, or 127.0.0.1:7000)\n"
    "  --json                      print JSON\n"
    "  --ca, --certificate, --key  PEM files, where the mesh speaks TLS (DUALMESH_CA,\n"
    "                              DUALMESH_CERTIFICATE, DUALMESH_KEY)\n";

constexpr const char* kStatuses =
    "\nExit status: 0 done or equal, 1 different or not in time, 2 failed or asked wrongly.\n";

// By the words after dualmeshctl.
const std::map<std::string, std::string> kExamplesOf = {
    {"status",
     "  dualmeshctl status --node 10.0.0.2:7000\n"
     "  dualmeshctl status --json | jq .ready\n"},
    {"members", "  dualmeshctl members --node 10.0.0.2:7000\n"},
    {"instances",
     "  dualmeshctl instances\n"
     "  dualmeshctl instances --json | jq '.[] | select(.healthy | not) | .name'\n"},
    {"kv",
     "  dualmeshctl kv\n"
     "  dualmeshctl kv h200-1\n"
     "  dualmeshctl kv h200-1/3\n"
     "  dualmeshctl kv --json | jq '.streams[] | {instance, confidence}'\n"},
    {"hash-key",
     "  dualmeshctl hash-key --new          # a key for a client, and its line for [[tenant]]\n"
     "  dualmeshctl hash-key < key.txt\n"},
    {"rings", "  dualmeshctl rings\n"},
    {"lag",
     "  dualmeshctl lag\n"
     "  dualmeshctl lag --json | jq .verdict\n"},
    {"metrics", "  dualmeshctl metrics | grep dualmesh_mesh_refusals_total\n"},
    {"drain", "  dualmeshctl drain --node 10.0.0.2:7000    # ends that node's process\n"},
    {"policy",
     "  dualmeshctl policy\n"
     "  dualmeshctl policy set round_robin\n"},
    {"policy set",
     "  dualmeshctl policy set dualmesh && dualmeshctl wait-converged\n"
     "  dualmeshctl policy set dualmap@vtc\n"},
    {"weights",
     "  dualmeshctl weights\n"
     "  dualmeshctl weights set team-a=2 team-b=0.5\n"},
    {"weights set",
     "  dualmeshctl weights set team-a=2 '#1f2e3d4c5b6a7988=0.5'\n"
     "  dualmeshctl weights set --file weights.txt    # keeps API keys out of the process list\n"
     "  dualmeshctl weights set --force team-new=2    # before it is in any node's files\n"},
    {"weights clear",
     "  dualmeshctl weights clear team-a\n"
     "  dualmeshctl weights clear --all\n"},
    {"instance",
     "  dualmeshctl instance add h200-1 10.0.1.1:8000\n"
     "  dualmeshctl instance drain h200-1 --wait\n"
     "  dualmeshctl instance resume h200-1\n"
     "  dualmeshctl instance remove h200-1\n"},
    {"instance add",
     "  dualmeshctl instance add h200-1 10.0.1.1:8000\n"
     "  dualmeshctl instance add h200-1 10.0.1.1:8000 --model base --model lora "
     "--weight 2\n"
     "  dualmeshctl instance add h200-1 10.0.1.1:8000 \\\n"
     "      --kv-events tcp://10.0.1.1:5557,replay=tcp://10.0.1.1:6557\n"},
    {"instance drain",
     "  dualmeshctl instance drain h200-1\n"
     "  dualmeshctl instance drain h200-1 --wait --timeout 10m && systemctl stop "
     "vllm\n"},
    {"instance resume", "  dualmeshctl instance resume h200-1\n"},
    {"instance remove",
     "  dualmeshctl instance remove h200-1\n"
     "  dualmeshctl instance drain h200-1 --wait && dualmeshctl instance remove "
     "h200-1\n"},
    {"diff",
     "  dualmeshctl diff node-a node-b\n"
     "  dualmeshctl diff 10.0.0.1:7000 10.0.0.2:7000 registry\n"},
    {"watch",
     "  dualmeshctl watch --interval 5s\n"
     "  dualmeshctl watch --once --json | jq .verdict\n"},
    {"wait-converged", "  dualmeshctl wait-converged --timeout 60s && echo next\n"},
    {"explain",
     "  dualmeshctl explain --prompt-file prompt.txt --model llama-3.1-8b\n"
     "  dualmeshctl explain --prompt-file request.json --path /v1/completions\n"},
    {"decisions",
     "  dualmeshctl decisions --last 5\n"
     "  dualmeshctl decisions 4711          # `decision` of a line of that node's access log\n"
     "  dualmeshctl decisions --last 1000 --json | jq '.[].reason' | sort | uniq -c\n"},
};

void add_help_of_commands(CLI::App& app, const std::string& before) {
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    const std::string words = before + command->get_name();
    const auto examples = kExamplesOf.find(words);
    DUALMESH_CHECK(examples != kExamplesOf.end(), "no example of '{}'", words);
    command->footer(std::string(kShared) + "\nExamples:\n" + examples->second + kStatuses);
    add_help_of_commands(*command, words + " ");
  }
}

}  // namespace

void add_help(CLI::App& app) {
  app.footer(std::string(kExamples) + kStatuses);
  add_help_of_commands(app, "");
}

}  // namespace dualmesh::node::ctl
