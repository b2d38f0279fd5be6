#include "node/kv/engine_batch.h"

#include <xxhash.h>

#include <algorithm>
#include <array>

#include "node/kv/engine_fields.h"
#include "node/kv/msgpack_reader.h"

namespace dualmesh::node {
namespace {

using Field = EngineField;
using Kind = MsgpackReader::Kind;

class Decoder {
 public:
  Decoder(std::string_view payload, EngineBatch& batch, const EngineBatchLimits& limits)
      : payload_(payload), in_(payload, limits.max_text_bytes), out_(batch), limits_(limits) {}

  BatchError batch();

 private:
  bool fatal(BatchError error) {
    if (error_ == BatchError::none) error_ = error;
    return false;
  }
  bool broken() const {
    return in_.error() == MsgpackError::truncated || in_.error() == MsgpackError::reserved;
  }
  void count(EventIssue issue) { ++out_.issues[static_cast<std::size_t>(issue)]; }

  bool envelope();
  bool events();
  bool event();
  bool skip_event(std::size_t start, EventIssue issue);
  bool tag(bool is_map, std::uint32_t fields, std::string_view& tag);
  bool fields(bool is_map, std::uint32_t fields);
  bool field(Field field);
  bool finish();

  bool hash(EngineHash& hash);
  bool hashes();
  bool parent();
  bool tokens();
  bool token(policies::TokenId& token);
  bool optional_text(std::string_view& text);
  bool lora_id();
  bool lora_or_salt();
  bool metadata();
  bool medium();
  bool locality();
  bool group();
  bool group_kind();
  bool extra_keys();
  bool extra_items(std::size_t block);
  void add_extra(std::size_t block, std::size_t from, std::size_t to);

  std::string_view payload_;
  MsgpackReader in_;
  EngineBatch& out_;
  const EngineBatchLimits& limits_;
  BatchError error_ = BatchError::none;

  // Of the event being read.
  EngineEvent event_;
  bool has_hashes_ = false;
  bool unknown_medium_ = false;
  std::uint32_t positions_ = 0;    // elements of a positional event; 0: a map
  std::size_t extra_keys_at_ = 0;  // read last, because the adapter's name must be known; 0: none
};

BatchError Decoder::batch() {
  if (payload_.size() > limits_.max_payload_bytes) {
    fatal(BatchError::too_large);
  } else if (!envelope()) {
    fatal(broken() ? BatchError::not_msgpack : BatchError::not_a_batch);
  } else if (in_.left() > 0) {
    fatal(BatchError::not_msgpack);
  }
  return error_;
}

bool Decoder::envelope() {
  const auto rank = [&] {
    std::uint64_t value;
    bool negative;
    if (in_.peek() != Kind::integer) return in_.skip();
    if (!in_.read_integer(value, negative)) return false;
    if (!negative && value <= INT32_MAX) out_.rank = static_cast<std::int64_t>(value);
    return true;
  };
  const auto time = [&] {
    const bool number = in_.peek() == Kind::real || in_.peek() == Kind::integer;
    return number ? in_.read_real(out_.time_s) : in_.skip();
  };
  std::uint32_t count;
  if (in_.peek() == Kind::map) {
    bool has_events = false;
    if (!in_.read_map(count)) return false;
    for (; count > 0; --count) {
      std::string_view key;
      if (in_.peek() != Kind::text ? !in_.skip() : !in_.read_text(key)) return false;
      const bool is_rank = key == "data_parallel_rank" || key == "attn_dp_rank";
      if (key == "events" ? has_events || !events()
                          : !(key == "ts" ? time()
                              : is_rank   ? rank()
                                          : in_.skip())) {
        return false;
      }
      has_events |= key == "events";
    }
    return has_events;
  }
  if (!in_.read_array(count) || count < 2) return false;
  if (!time() || !events()) return false;
  if (count > 2 && !rank()) return false;
  for (std::uint32_t i = 3; i < count; ++i) {
    if (!in_.skip()) return false;
  }
  return true;
}

bool Decoder::events() {
  std::uint32_t count;
  if (!in_.read_array(count)) return false;
  if (count > limits_.max_events) return fatal(BatchError::too_large);
  for (; count > 0; --count) {
    if (!event()) return false;
  }
  return true;
}

// Leaves the event out, whatever of it was read.
bool Decoder::skip_event(std::size_t start, EventIssue issue) {
  count(issue);
  out_.hashes.resize(event_.first_hash);
  out_.tokens.resize(event_.first_token);
  out_.extras.resize(event_.first_extra);
  in_.back_to(start);
  return in_.skip();
}

bool Decoder::event() {
  const std::size_t start = in_.position();
  event_ = {.first_hash = static_cast<std::uint32_t>(out_.hashes.size()),
            .first_token = static_cast<std::uint32_t>(out_.tokens.size()),
            .first_extra = static_cast<std::uint32_t>(out_.extras.size())};
  has_hashes_ = unknown_medium_ = false;
  extra_keys_at_ = 0;
  const bool is_map = in_.peek() == Kind::map;
  std::uint32_t count = 0;
  if (is_map ? !in_.read_map(count) : in_.peek() == Kind::array && !in_.read_array(count)) {
    return false;
  }
  positions_ = is_map ? 0 : count;
  std::string_view tag;
  if (count == 0 || !this->tag(is_map, count, tag)) {
    return !broken() && skip_event(start, EventIssue::unknown_tag);
  }
  if (tag == "BlockStored") {
    event_.kind = EngineEvent::Kind::stored;
  } else if (tag == "BlockRemoved") {
    event_.kind = EngineEvent::Kind::removed;
  } else if (tag == "AllBlocksCleared") {
    out_.events.push_back(event_);
    out_.events.back().kind = EngineEvent::Kind::cleared;
    in_.back_to(start);
    return in_.skip();
  } else {
    return skip_event(start, EventIssue::unknown_tag);
  }
  if (!fields(is_map, count) || !finish()) {
    if (error_ != BatchError::none || broken()) return false;
    if (event_.kind == EngineEvent::Kind::removed) return fatal(BatchError::malformed_removal);
    return skip_event(start, EventIssue::malformed_store);
  }
  if (unknown_medium_) return skip_event(start, EventIssue::unknown_medium);
  out_.events.push_back(event_);
  return true;
}

// The tag: of an array its first element, which is taken; of a map wherever it stands, and the
// reader stays before the first field.
bool Decoder::tag(bool is_map, std::uint32_t fields, std::string_view& tag) {
  if (!is_map) return in_.peek() == Kind::text && in_.read_text(tag);
  const std::size_t first = in_.position();
  for (; fields > 0; --fields) {
    std::string_view key;
    if (in_.peek() != Kind::text ? !in_.skip() : !in_.read_text(key)) return false;
    if (key == "type") {
      if (in_.peek() != Kind::text || !in_.read_text(tag)) return false;
      in_.back_to(first);
      return true;
    }
    if (!in_.skip()) return false;
  }
  return false;
}

bool Decoder::fields(bool is_map, std::uint32_t fields) {
  if (!is_map) {
    for (std::uint32_t i = 1; i < fields; ++i) {
      if (!field(field_at(i, event_.kind == EngineEvent::Kind::stored))) return false;
    }
    return true;
  }
  for (; fields > 0; --fields) {
    if (in_.peek() != Kind::text) {
      if (!in_.skip() || !in_.skip()) return false;
      continue;
    }
    std::string_view key;
    if (!in_.read_text(key) || !field(field_named(key))) return false;
  }
  return true;
}

bool Decoder::field(Field field) {
  switch (field) {
    case Field::block_hashes:
      return hashes();
    case Field::parent:
      return parent();
    case Field::token_ids:
      return tokens();
    case Field::block_size: {
      std::uint64_t size = 0;
      if (!in_.take_nil() && !in_.read_unsigned(size, UINT64_MAX)) return false;
      event_.block_tokens = static_cast<std::uint32_t>(std::min<std::uint64_t>(size, UINT32_MAX));
      return true;
    }
    case Field::lora_id:
      return lora_id();
    case Field::medium:
      return medium();
    case Field::lora_name:
      return positions_ > 0 ? lora_or_salt() : optional_text(event_.lora);
    case Field::cache_salt:
      return optional_text(event_.salt);
    case Field::extra_keys:
      extra_keys_at_ = in_.position();
      return in_.skip();
    case Field::group:
      return group();
    case Field::group_kind:
      return group_kind();
    case Field::locality:
      return locality();
    case Field::other:
      break;
  }
  return in_.skip();
}

// What could be read only when all fields were.
bool Decoder::finish() {
  if (!has_hashes_) return false;
  if (extra_keys_at_ == 0) return true;
  const std::size_t end = in_.position();
  in_.back_to(extra_keys_at_);
  if (!extra_keys()) return false;
  in_.back_to(end);
  return true;
}

bool Decoder::hash(EngineHash& hash) {
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
  if (hash >> 63 != 0) out_.engine = negative ? EngineKind::sglang : EngineKind::vllm;
  return true;
}

bool Decoder::hashes() {
  std::uint32_t count;
  if (!in_.read_array(count)) return false;
  out_.hashes.resize(event_.first_hash);
  if (out_.hashes.size() + count > limits_.max_hashes) return fatal(BatchError::too_large);
  out_.hashes.resize(event_.first_hash + count);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!hash(out_.hashes[event_.first_hash + i])) return false;
  }
  event_.hashes = count;
  has_hashes_ = true;
  return true;
}

bool Decoder::parent() {
  event_.has_parent = !in_.take_nil();
  return !event_.has_parent || hash(event_.parent);
}

bool Decoder::tokens() {
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
bool Decoder::token(policies::TokenId& token) {
  std::uint32_t items;
  std::uint64_t value;
  if (!in_.read_array(items) || items == 0 || !in_.read_unsigned(value, UINT32_MAX)) return false;
  token = static_cast<policies::TokenId>(value);
  for (; items > 1; --items) {
    if (!in_.skip()) return false;
  }
  return true;
}

bool Decoder::optional_text(std::string_view& text) {
  text = {};
  return in_.take_nil() || in_.read_text(text);
}

bool Decoder::lora_id() {
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
bool Decoder::lora_or_salt() {
  if (in_.peek() == Kind::map) return metadata();
  const bool salt = out_.engine == EngineKind::sglang && positions_ <= 8;
  if (salt) return optional_text(event_.salt);
  std::string_view name;
  if (!optional_text(name)) return false;
  if (!name.empty()) event_.lora = name;
  return true;
}

bool Decoder::metadata() {
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

bool Decoder::medium() {
  std::string_view name;
  if (!optional_text(name)) return false;
  const auto found = medium_named(name);
  unknown_medium_ |= !found;
  event_.medium = found.value_or(policies::Medium::gpu);
  return true;
}

bool Decoder::locality() {
  std::string_view name;
  if (!optional_text(name)) return false;
  unknown_medium_ |= !name.empty() && !equal_ignoring_case(name, "LOCAL");
  return true;
}

bool Decoder::group() {
  std::uint64_t group;
  event_.group = -1;
  if (in_.take_nil()) return true;
  if (!in_.read_unsigned(group, INT32_MAX)) return false;
  event_.group = static_cast<std::int32_t>(group);
  return true;
}

bool Decoder::group_kind() {
  std::string_view name;
  if (!optional_text(name)) return false;
  const bool main =
      name == "full_attention" || name == "mla_attention" || name == "sink_full_attention";
  event_.group_kind = name.empty() ? GroupKind::unsaid : main ? GroupKind::main : GroupKind::other;
  return true;
}

// One entry per hash, nil or a list: the adapter's name, an identifier per picture or sound, the
// salt (a text in the first block of a prompt), a digest of embeddings.
bool Decoder::extra_keys() {
  std::uint32_t count;
  if (in_.take_nil()) return true;
  if (!in_.read_array(count)) return false;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!in_.take_nil() && (i >= event_.hashes || !extra_items(i))) return false;
  }
  // A list that does not say which block is meant is of use only when it says nothing.
  return event_.extras == 0 || count == event_.hashes;
}

bool Decoder::extra_items(std::size_t block) {
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

void Decoder::add_extra(std::size_t block, std::size_t from, std::size_t to) {
  if (event_.extras == 0) {
    event_.extras = event_.hashes;
    out_.extras.resize(event_.first_extra + event_.extras);
  }
  std::uint64_t& digest = out_.extras[event_.first_extra + block];
  digest = XXH3_64bits_withSeed(payload_.data() + from, to - from, digest);
  if (digest == 0) digest = 1;
}

// After a flood, memory goes back.
template <class T>
void start_over(std::vector<T>& values, std::size_t kept) {
  values.clear();
  if (values.capacity() > kept) values.shrink_to_fit();
}

}  // namespace

BatchError decode(std::string_view payload, EngineBatch& batch, const EngineBatchLimits& limits) {
  constexpr std::size_t kKept = 65'536;
  const auto start = [&] {
    start_over(batch.events, kKept / 16);
    start_over(batch.hashes, kKept);
    start_over(batch.tokens, 16 * kKept);
    start_over(batch.extras, kKept);
  };
  start();
  batch.time_s = 0.0;
  batch.rank = -1;
  batch.issues = {};
  const BatchError error = Decoder(payload, batch, limits).batch();
  if (error != BatchError::none) start();
  return error;
}

const char* to_string(BatchError error) {
  constexpr std::array<const char*, kBatchErrors> texts{"none", "larger than allowed",
                                                        "not MessagePack", "not a batch of events",
                                                        "a removal that cannot be read"};
  return texts.at(static_cast<std::size_t>(error));
}

const char* to_string(EventIssue issue) {
  constexpr std::array<const char*, kEventIssues> texts{"unknown tag",
                                                        "malformed store",
                                                        "unknown medium",
                                                        "other attention group",
                                                        "no tokens",
                                                        "tokens do not match the hashes",
                                                        "absurd block size",
                                                        "partial block",
                                                        "hash is its own parent",
                                                        "hash repeats in its chain",
                                                        "hash of another prefix",
                                                        "unknown parent",
                                                        "block size changed",
                                                        "depth saturated"};
  return texts.at(static_cast<std::size_t>(issue));
}

}  // namespace dualmesh::node
