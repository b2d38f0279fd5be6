#include "node/router/secret_arguments.h"

#include <cstring>
#include <string_view>

#include "node/router/settings_table.h"

namespace dualmesh::node {

std::vector<std::string> blank_secret_arguments(int argc, char** argv) {
  std::vector<std::string> found;
  const auto blank = [](char* value) { std::memset(value, '*', std::strlen(value)); };
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (!argument.starts_with("--")) continue;
    const std::string_view key = argument.substr(2, argument.find('=') - 2);
    const Setting* setting = find_setting(key);
    if (!setting || !setting->secret) continue;
    found.emplace_back(key);
    if (key.size() + 2 < argument.size()) {
      blank(argv[i] + key.size() + 3);
    } else if (i + 1 < argc) {
      blank(argv[++i]);
    }
  }
  return found;
}

}  // namespace dualmesh::node
