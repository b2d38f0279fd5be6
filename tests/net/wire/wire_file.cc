#include "tests/net/wire/wire_file.h"

#include <array>
#include <fstream>

#include "net/error.h"

namespace dualmesh::wire_test {

std::vector<WireRecord> read_wire_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  DUALMESH_CHECK(file.is_open(), "path={}", path);
  std::vector<WireRecord> records;
  for (char direction; file.get(direction);) {
    std::array<unsigned char, 4> size{};
    file.read(reinterpret_cast<char*>(size.data()), size.size());
    const std::size_t length = size[0] | size[1] << 8 | size[2] << 16 | std::size_t{size[3]} << 24;
    WireRecord record{static_cast<Direction>(direction), std::string(length, '\0')};
    file.read(record.bytes.data(), static_cast<std::streamsize>(length));
    DUALMESH_CHECK(file.good() && direction <= 2, "path={} record={}", path, records.size());
    records.push_back(std::move(record));
  }
  return records;
}

void write_wire_file(const std::string& path, const std::vector<WireRecord>& records) {
  std::ofstream file(path, std::ios::binary);
  for (const WireRecord& record : records) {
    file.put(static_cast<char>(record.direction));
    for (int shift = 0; shift < 32; shift += 8) {
      file.put(static_cast<char>(record.bytes.size() >> shift & 0xff));
    }
    file.write(record.bytes.data(), static_cast<std::streamsize>(record.bytes.size()));
  }
  file.close();
  DUALMESH_CHECK(file.good(), "path={}", path);
}

}  // namespace dualmesh::wire_test
