#include "node/router/command_line.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iterator>
#include <map>

#include "node/program/usage.h"
#include "node/router/settings_table.h"

namespace dualmesh::node {
namespace {

void append(ConfigProblems& all, ConfigProblems some) {
  all.insert(all.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
}

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return std::nullopt;
  return text;
}

}  // namespace

CommandLineResult read_command_line(int argc, const char* const* argv) {
  CLI::App app("A router node of a dualmesh.", "dualmeshd");
  app.get_formatter()->column_width(44);
  std::string file;
  std::map<std::string, std::string, std::less<>> values;
  std::vector<std::string> instances;
  CommandLine line;
  app.add_option("--config", file, "TOML file to read; flags outrank it")->type_name("FILE");
  app.add_flag("--check-config", line.check_only, "Say what is wrong with the settings and exit");
  app.add_flag("--print-config", line.print_only, "Print all settings, with comments, as TOML");
  app.add_option("--instance", instances,
                 "name=e1,address=HOST:PORT, and after commas model=NAME, weight=1 and at last "
                 "kv_events=ENDPOINTS; may be repeated")
      ->type_name("SETTINGS");
  for (const Setting& setting : all_settings()) {
    const std::string key(setting.key);
    app.add_option_function<std::string>(
           "--" + key, [&values, key](const std::string& value) { values[key] = value; },
           std::string(setting.help) + " Allowed: " + describe_allowed(setting) + ".")
        ->type_name("VALUE")
        ->group(std::string(setting.section()));
  }
  if (const auto status = parse(app, argc, argv)) return {std::nullopt, *status};
  ConfigProblems problems;
  if (!file.empty()) {
    const auto text = read_file(file);
    append(problems,
           text ? read_toml(*text, file, line.config) : ConfigProblems{{file, "cannot be read"}});
  }
  for (const auto& [key, value] : values) append(problems, read_flag(key, value, line.config));
  for (const std::string& one : instances) append(problems, read_instance_flag(one, line.config));
  // What is wrong with the whole is only worth saying when the parts are right.
  if (problems.empty() && !line.print_only) {
    const std::string where = file.empty() ? "flags" : file;
    append(problems, check_whole(line.config, where));
    if (problems.empty()) {
      append(problems, check_certificate(line.config, where, std::time(nullptr)));
    }
  }
  for (const ConfigProblem& problem : problems) {
    std::fprintf(stderr, "%s\n", problem.text().c_str());
  }
  if (!problems.empty()) return {std::nullopt, 2};
  return {std::move(line), 0};
}

}  // namespace dualmesh::node
