#include "node/program/usage.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <sstream>
#include <string>

#include "node/program/build_id.h"

namespace dualmesh::node {
namespace {

// The program's name and the subcommands that were understood.
std::string understood(const CLI::App& app, const CLI::App*& deepest) {
  std::string words = app.get_name();
  for (deepest = &app; !deepest->get_subcommands().empty();) {
    deepest = deepest->get_subcommands().front();
    words += " " + deepest->get_name();
  }
  return words;
}

constexpr std::size_t kLineWidth = 100;

// Where the text of a line of help begins: behind the option, or the indent.
std::size_t text_begin(const std::string& line) {
  const std::size_t first = std::min(line.find_first_not_of(' '), line.size());
  const std::size_t gap = line.find("  ", first);
  const std::size_t text = gap == std::string::npos ? gap : line.find_first_not_of(' ', gap);
  return text == std::string::npos || text > kLineWidth / 2 ? first : text;
}

// The library knows no width: what is too long goes on under the text of its line.
std::string folded(const std::string& help) {
  std::istringstream lines(help);
  std::string result;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t begin = text_begin(line);
    while (line.size() > kLineWidth) {
      const std::size_t space = line.rfind(' ', kLineWidth);
      if (space == std::string::npos || space <= begin) break;
      result += line.substr(0, space) + '\n';
      line = std::string(begin, ' ') + line.substr(space + 1);
    }
    result += line + '\n';
  }
  return result;
}

int told(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_name() == "CallForHelp") {
    std::fputs(folded(app.help()).c_str(), stdout);
    return 0;
  }
  if (error.get_exit_code() == 0) return app.exit(error);
  const CLI::App* deepest = nullptr;
  const std::string command = understood(app, deepest);
  std::string what = error.what();
  // Of a misspelt subcommand the library says only that one is required.
  const bool may_be_misspelt = deepest->get_require_subcommand_min() > 0;
  if (const auto words = app.remaining(true); may_be_misspelt && !words.empty()) {
    what = "there is no command '" + words.front() + "'";
  }
  std::fprintf(stderr, "%s: %s\nRun %s --help for more information.\n", app.get_name().c_str(),
               what.c_str(), command.c_str());
  return kExitUsage;
}

}  // namespace

std::optional<int> parse(CLI::App& app, int argc, const char* const* argv) {
  app.set_version_flag("--version", app.get_name() + " " + kBuildId);
  try {  // the library's way of saying --help, too
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return told(app, error);
  }
  return std::nullopt;
}

}  // namespace dualmesh::node
