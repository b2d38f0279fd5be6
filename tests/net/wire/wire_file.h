// A recorded conversation of two nodes; the format is in the folder's README.
//
// Threads: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace dualmesh::wire_test {

enum class Direction : std::uint8_t { to_callee, to_caller, mark };

struct WireRecord {
  Direction direction;
  std::string bytes;
};

// Aborts when the file cannot be read or written, or is no recording.
std::vector<WireRecord> read_wire_file(const std::string& path);
void write_wire_file(const std::string& path, const std::vector<WireRecord>& records);

}  // namespace dualmesh::wire_test
