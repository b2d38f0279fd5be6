// What an engine may say, and every way in which engines have encoded it, by an encoder that shares
// nothing with the decoder under test.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "node/kv/engine_batch.h"

namespace dualmesh::node {

using Json = nlohmann::ordered_json;

struct Said {
  EngineEvent::Kind kind = EngineEvent::Kind::stored;
  std::vector<EngineHash> hashes;
  std::optional<EngineHash> parent;
  std::vector<std::uint32_t> tokens;
  std::uint32_t block_tokens = 0;
  std::optional<std::uint64_t> lora_id;
  std::optional<std::string> medium;
  std::string lora, salt;
  std::vector<Json> pictures;  // per hash: nil, or what else its extra keys say
  std::optional<int> group;
  std::string group_kind;
};

struct Wire {
  bool maps = true;        // events; else positional
  bool type_first = true;  // of a map
  bool map_envelope = false;
  bool has_rank = true;
  bool digests = false;    // hashes as 32 bytes, of which the last 8 count
  bool is_signed = false;  // hashes as SGLang says them
  bool pairs = false;      // tokens as pairs with their successors
  bool unknown = false;    // fields, tags and elements from the future
  bool sglang = false;     // salt by name or at position 7, and nothing behind it
};

inline Json hash_on(const Wire& wire, EngineHash hash) {
  if (wire.digests) {
    std::vector<std::uint8_t> bytes(32, 0xa5);
    for (int i = 0; i < 8; ++i) bytes[31 - i] = static_cast<std::uint8_t>(hash >> 8 * i);
    return Json::binary(bytes);
  }
  return wire.is_signed ? Json(static_cast<std::int64_t>(hash)) : Json(hash);
}

inline Json or_nil(const std::string& text) { return text.empty() ? Json() : Json(text); }

inline Json extra_keys_of(const Said& said) {
  Json keys = Json::array();
  for (std::size_t i = 0; i < said.hashes.size(); ++i) {
    Json items = Json::array();
    if (!said.lora.empty()) items.push_back(said.lora);
    if (i < said.pictures.size() && !said.pictures[i].is_null()) items.push_back(said.pictures[i]);
    if (i == 0 && !said.salt.empty() && !said.parent) items.push_back(said.salt);
    keys.push_back(items.empty() ? Json() : items);
  }
  return keys;
}

// Names and values in the order of the engine's declaration.
inline std::vector<std::pair<std::string, Json>> fields_of(const Said& said, const Wire& wire) {
  std::vector<std::pair<std::string, Json>> fields;
  if (said.kind == EngineEvent::Kind::cleared) return fields;
  Json hashes = Json::array();
  for (const EngineHash hash : said.hashes) hashes.push_back(hash_on(wire, hash));
  const Json medium = said.medium ? Json(*said.medium) : Json();
  const Json group = said.group ? Json(*said.group) : Json();
  fields.emplace_back("block_hashes", hashes);
  if (said.kind == EngineEvent::Kind::removed) {
    fields.emplace_back("medium", medium);
    if (!wire.sglang) fields.emplace_back("group_idx", group);
    return fields;
  }
  Json tokens = Json::array();
  for (const std::uint32_t token : said.tokens) {
    tokens.push_back(wire.pairs ? Json::array({token, token + 1}) : Json(token));
  }
  fields.emplace_back("parent_block_hash", said.parent ? hash_on(wire, *said.parent) : Json());
  fields.emplace_back("token_ids", tokens);
  fields.emplace_back("block_size", said.block_tokens);
  fields.emplace_back("lora_id", said.lora_id ? Json(*said.lora_id) : Json());
  fields.emplace_back("medium", medium);
  if (wire.sglang) {
    fields.emplace_back("cache_salt", or_nil(said.salt));
    if (wire.maps) fields.emplace_back("lora_name", or_nil(said.lora));
    return fields;
  }
  fields.emplace_back("lora_name", or_nil(said.lora));
  fields.emplace_back("extra_keys", extra_keys_of(said));
  fields.emplace_back("group_idx", group);
  fields.emplace_back("kv_cache_spec_kind", or_nil(said.group_kind));
  return fields;
}

inline Json event_on(const Wire& wire, const Said& said) {
  const char* const tags[] = {"BlockStored", "BlockRemoved", "AllBlocksCleared"};
  const std::string tag = tags[static_cast<std::size_t>(said.kind)];
  auto fields = fields_of(said, wire);
  if (!wire.maps) {
    Json event = Json::array({tag});
    for (auto& field : fields) event.push_back(field.second);
    if (wire.unknown && !wire.sglang) {
      for (int i = 0; i < 2; ++i) event.push_back(Json());  // not far, and no window
      for (int i = 0; i < 4; ++i) event.push_back({{"deep", Json::array({1, "two", 3.5})}});
    }
    return event;
  }
  Json event = Json::object();
  if (wire.type_first) event["type"] = tag;
  for (auto& [name, value] : fields) {
    if (!value.is_null() || name == "parent_block_hash") event[name] = value;
  }
  if (wire.unknown) event["from_the_future"] = Json::array({Json::object(), -1, true});
  if (!wire.type_first) event["type"] = tag;
  return event;
}

inline std::string bytes_of(const Json& json) {
  const std::vector<std::uint8_t> bytes = Json::to_msgpack(json);
  return {bytes.begin(), bytes.end()};
}

inline std::string encoded(const std::vector<Said>& events, const Wire& wire, double time_s = 1.5) {
  Json list = Json::array();
  for (const Said& said : events) {
    if (wire.unknown) list.push_back(Json::array({"BlockPolished", 7}));
    list.push_back(event_on(wire, said));
  }
  if (wire.map_envelope) {
    Json batch{{"ts", time_s}, {"events", list}};
    if (wire.has_rank) batch["data_parallel_rank"] = 3;
    if (wire.unknown) batch["version"] = "9";
    return bytes_of(batch);
  }
  Json batch = Json::array({time_s, list});
  if (wire.has_rank || wire.unknown) batch.push_back(wire.has_rank ? Json(3) : Json());
  if (wire.unknown) batch.push_back(Json::object());
  return bytes_of(batch);
}

}  // namespace dualmesh::node
