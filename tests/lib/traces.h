// Where the tests find recorded traces: large files that are not part of the project.
//
// DUALMESH_TRACES names their folder; without it, ../shared/traces beside the project is tried. A
// test whose trace is absent says so aloud and skips. Threads: pure functions.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>

namespace dualmesh::tests {

inline std::optional<std::string> trace_file(const std::string& name) {
  namespace fs = std::filesystem;
  const char* configured = std::getenv("DUALMESH_TRACES");
  const fs::path root = fs::path(__FILE__).parent_path().parent_path().parent_path();
  const fs::path folder =
      configured != nullptr ? fs::path(configured) : root.parent_path() / "shared" / "traces";
  const fs::path file = folder / name;
  std::error_code ignored;
  if (fs::exists(file, ignored)) return file.string();
  std::printf("SKIPPED: no trace %s; set DUALMESH_TRACES to the folder that holds it\n",
              file.c_str());
  return std::nullopt;
}

}  // namespace dualmesh::tests
