#include <xxhash.h>

#include <algorithm>

#include "node/kv/engine_decoder.h"

namespace dualmesh::node {

using Kind = MsgpackReader::Kind;

namespace {

// Said without a sign it is vLLM's, with one SGLang's; smaller ones may be either's.
bool is_large(EngineHash hash) { return hash >> 63 != 0; }

}  // namespace

bool EngineDecoder::hash(EngineHash& hash) {
  if (in_.peek() == Kind::binary) {  // a whole digest: its last 8 bytes, big-endian
    std::string_view bytes;
    if (!in_.read_binary(bytes) || bytes.empty()) return false;
    hash = 0;
    for (const char byte : bytes.substr(bytes.size() - std::min<std::size_t>(8, bytes.size()))) {
      hash = hash << 8 | static_cast<unsigned char>(byte);
    }
    out_.engine = EngineKind::vllm;
    return true;
  }
  bool negative;
  if (!in_.read_integer(hash, negative)) return false;
  if (is_large(hash)) out_.engine = negative ? EngineKind::sglang : EngineKind::vllm;
  return true;
}

bool EngineDecoder::hashes() {
  std::uint32_t count;
  if (!in_.read_array(count)) return false;
  out_.hashes.resize(event_.first_hash);
  if (out_.hashes.size() + count > limits_.max_hashes) return fatal(BatchError::too_large);
  out_.hashes.resize(event_.first_hash + count);
  EngineHash* const out = out_.hashes.data() + event_.first_hash;
  const std::size_t usual = in_.read_u64s(out, count);
  if (std::any_of(out, out + usual, is_large)) out_.engine = EngineKind::vllm;
  for (std::size_t i = usual; i < count; ++i) {
    if (!hash(out[i])) return false;
  }
  event_.hashes = count;
  has_hashes_ = true;
  return true;
}

bool EngineDecoder::parent() {
  event_.has_parent = !in_.take_nil();
  return !event_.has_parent || hash(event_.parent);
}

bool EngineDecoder::tokens() {
  event_.tokens = 0;
  out_.tokens.resize(event_.first_token);
  if (in_.take_nil()) return true;
  std::uint32_t count;
  if (!in_.read_array(count)) return false;
  if (out_.tokens.size() + count > limits_.max_tokens) return fatal(BatchError::too_large);
  out_.tokens.resize(event_.first_token + count);
  policies::TokenId* const out = out_.tokens.data() + event_.first_token;
  for (std::size_t done = 0; done < count;) {
    done += in_.read_u32s(out + done, count - done);
    if (done < count && !token(out[done++])) return false;
  }
  event_.tokens = count;
  return true;
}

// One token that is not a plain number: with Eagle each comes as a pair with its successor.
bool EngineDecoder::token(policies::TokenId& token) {
  std::uint32_t items;
  std::uint64_t value;
  if (!in_.read_array(items) || items == 0 || !in_.read_unsigned(value, UINT32_MAX)) return false;
  token = static_cast<policies::TokenId>(value);
  for (; items > 1; --items) {
    if (!in_.skip()) return false;
  }
  return true;
}

bool EngineDecoder::optional_text(std::string_view& text) {
  text = {};
  return in_.take_nil() || in_.read_text(text);
}

bool EngineDecoder::lora_id() {
  event_.lora_id = 0;
  if (in_.peek() == Kind::text) {  // a name all the same
    std::string_view text;
    if (!in_.read_text(text)) return false;
    if (event_.lora.empty()) event_.lora = text;
    return true;
  }
  bool negative;
  return in_.take_nil() || in_.read_integer(event_.lora_id, negative);
}

// Position 7: the adapter's name to vLLM; SGLang has put a salt there, or a map. A vLLM that says
// more positions than SGLang ever did is known by that.
bool EngineDecoder::lora_or_salt() {
  if (in_.peek() == Kind::map) return metadata();
  const bool salt = out_.engine == EngineKind::sglang && positions_ <= 8;
  if (salt) return optional_text(event_.salt);
  std::string_view name;
  if (!optional_text(name)) return false;
  if (!name.empty()) event_.lora = name;
  return true;
}

bool EngineDecoder::metadata() {
  std::uint32_t pairs;
  if (!in_.read_map(pairs)) return false;
  for (; pairs > 0; --pairs) {
    std::string_view key;
    if (in_.peek() != Kind::text ? !in_.skip() : !in_.read_text(key)) return false;
    const bool read = key == "cache_salt"  ? optional_text(event_.salt)
                      : key == "lora_name" ? optional_text(event_.lora)
                                           : in_.skip();
    if (!read) return false;
  }
  return true;
}

bool EngineDecoder::medium() {
  std::string_view name;
  if (!optional_text(name)) return false;
  const auto found = medium_named(name);
  unknown_medium_ |= !found;
  event_.medium = found.value_or(policies::Medium::gpu);
  return true;
}

bool EngineDecoder::locality() {
  std::string_view name;
  if (!optional_text(name)) return false;
  unknown_medium_ |= !name.empty() && !equal_ignoring_case(name, "LOCAL");
  return true;
}

bool EngineDecoder::group() {
  std::uint64_t group;
  event_.group = -1;
  if (in_.take_nil()) return true;
  if (!in_.read_unsigned(group, INT32_MAX)) return false;
  event_.group = static_cast<std::int32_t>(group);
  return true;
}

bool EngineDecoder::group_kind() {
  std::string_view name;
  if (!optional_text(name)) return false;
  const bool main =
      name == "full_attention" || name == "mla_attention" || name == "sink_full_attention";
  event_.group_kind = name.empty() ? GroupKind::unsaid : main ? GroupKind::main : GroupKind::other;
  return true;
}

// One entry per hash, nil or a list: the adapter's name, an identifier per picture or sound, the
// salt (a text in the first block of a prompt), a digest of embeddings.
bool EngineDecoder::extra_keys() {
  std::uint32_t count;
  if (in_.take_nil()) return true;
  if (!in_.read_array(count)) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!in_.take_nil() && (i >= event_.hashes || !extra_items(i))) return false;
  }
  // A list that does not say which block is meant is of use only when it says nothing.
  return event_.extras == 0 || count == event_.hashes;
}

bool EngineDecoder::extra_items(std::size_t block) {
  std::uint32_t items;
  if (!in_.read_array(items)) return false;
  const bool first_of_prompt = block == 0 && !event_.has_parent;
  std::size_t salt_from = 0, salt_to = 0;
  for (; items > 0; --items) {
    if (in_.take_nil()) continue;
    const std::size_t from = in_.position();
    if (in_.peek() == Kind::text) {
      std::string_view text;
      if (!in_.read_text(text)) return false;
      if (text == event_.lora) continue;
      if (first_of_prompt) {  // the salt comes last; one before it names a picture
        if (salt_to > 0) add_extra(block, salt_from, salt_to);
        salt_from = from, salt_to = in_.position();
        event_.salt = text;
        continue;
      }
    } else if (!in_.skip()) {
      return false;
    }
    add_extra(block, from, in_.position());
  }
  return true;
}

void EngineDecoder::add_extra(std::size_t block, std::size_t from, std::size_t to) {
  if (event_.extras == 0) {
    event_.extras = event_.hashes;
    out_.extras.resize(event_.first_extra + event_.extras);
  }
  std::uint64_t& digest = out_.extras[event_.first_extra + block];
  digest = XXH3_64bits_withSeed(payload_.data() + from, to - from, digest);
  if (digest == 0) digest = 1;
}

}  // namespace dualmesh::node
