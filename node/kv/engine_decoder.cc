#include "node/kv/engine_decoder.h"

#include <algorithm>

namespace dualmesh::node {

using Field = EngineField;
using Kind = MsgpackReader::Kind;

BatchError EngineDecoder::batch() {
  if (payload_.size() > limits_.max_payload_bytes) {
    fatal(BatchError::too_large);
  } else if (!envelope()) {
    fatal(broken() ? BatchError::not_msgpack : BatchError::not_a_batch);
  } else if (in_.left() > 0) {
    fatal(BatchError::not_msgpack);
  }
  return error_;
}

bool EngineDecoder::envelope() {
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

bool EngineDecoder::events() {
  std::uint32_t count;
  if (!in_.read_array(count)) return false;
  if (count > limits_.max_events) return fatal(BatchError::too_large);
  for (; count > 0; --count) {
    if (!event()) return false;
  }
  return true;
}

// Leaves the event out, whatever of it was read.
bool EngineDecoder::skip_event(std::size_t start, EventIssue issue) {
  count(issue);
  out_.hashes.resize(event_.first_hash);
  out_.tokens.resize(event_.first_token);
  out_.extras.resize(event_.first_extra);
  in_.back_to(start);
  return in_.skip();
}

bool EngineDecoder::event() {
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
bool EngineDecoder::tag(bool is_map, std::uint32_t fields, std::string_view& tag) {
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

bool EngineDecoder::fields(bool is_map, std::uint32_t fields) {
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

bool EngineDecoder::field(Field field) {
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
bool EngineDecoder::finish() {
  if (!has_hashes_) return false;
  if (extra_keys_at_ == 0) return true;
  const std::size_t end = in_.position();
  in_.back_to(extra_keys_at_);
  if (!extra_keys()) return false;
  in_.back_to(end);
  return true;
}

}  // namespace dualmesh::node
