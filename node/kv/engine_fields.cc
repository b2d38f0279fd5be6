#include "node/kv/engine_fields.h"

#include <algorithm>
#include <array>
#include <utility>

namespace dualmesh::node {

using Field = EngineField;

EngineField field_named(std::string_view name) {
  const auto either = [&](std::string_view wanted, Field field) {
    return name == wanted ? field : Field::other;
  };
  switch (name.size()) {  // no two names of a length are compared in vain
    case 6:
      return either("medium", Field::medium);
    case 7:
      return either("lora_id", Field::lora_id);
    case 8:
      return either("locality", Field::locality);
    case 9:
      if (name == "token_ids") return Field::token_ids;
      return name == "lora_name" ? Field::lora_name : either("group_idx", Field::group);
    case 10:
      if (name == "block_size") return Field::block_size;
      return name == "extra_keys" ? Field::extra_keys : either("cache_salt", Field::cache_salt);
    case 12:
      return either("block_hashes", Field::block_hashes);
    case 17:
      return either("parent_block_hash", Field::parent);
    case 18:
      return either("kv_cache_spec_kind", Field::group_kind);
    default:
      return Field::other;
  }
}

EngineField field_at(std::uint32_t position, bool stored) {
  constexpr std::array kStored{Field::other,     Field::block_hashes, Field::parent,
                               Field::token_ids, Field::block_size,   Field::lora_id,
                               Field::medium,    Field::lora_name,    Field::extra_keys,
                               Field::group,     Field::group_kind,   Field::other,
                               Field::locality};
  constexpr std::array kRemoved{Field::other, Field::block_hashes, Field::medium, Field::group,
                                Field::locality};
  if (stored) return position < kStored.size() ? kStored[position] : Field::other;
  return position < kRemoved.size() ? kRemoved[position] : Field::other;
}

bool equal_ignoring_case(std::string_view text, std::string_view upper) {
  return std::equal(text.begin(), text.end(), upper.begin(), upper.end(), [](char a, char b) {
    return (a >= 'a' && a <= 'z' ? static_cast<char>(a - 'a' + 'A') : a) == b;
  });
}

std::optional<policies::Medium> medium_named(std::string_view name) {
  using policies::Medium;
  constexpr std::array<std::pair<std::string_view, Medium>, 9> kNames{{
      {"", Medium::gpu},
      {"GPU", Medium::gpu},
      {"CPU", Medium::cpu},
      {"CPU_PINNED", Medium::cpu},
      {"DISK", Medium::disk},
      {"STORAGE", Medium::shared},
      {"SHARED_STORAGE", Medium::shared},
      {"EXTERNAL", Medium::shared},
      {"REMOTE", Medium::shared},
  }};
  for (const auto& [known, medium] : kNames) {
    if (equal_ignoring_case(name, known)) return medium;
  }
  return std::nullopt;
}

}  // namespace dualmesh::node
