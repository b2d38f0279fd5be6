// EngineDecoder: from bytes to an EngineBatch, for one payload; for engine_batch.cc alone.
//
// The envelope and the events are in engine_decoder.cc, the fields of an event in
// engine_decoder_fields.cc. Each reader takes one value, or fails: by the MessagePack reader's
// error, by error_ when the whole batch is no good, or by neither when the value is not what it
// should be. Threads: none.
#pragma once

#include "node/kv/engine_batch.h"
#include "node/kv/engine_fields.h"
#include "node/kv/msgpack_reader.h"

namespace dualmesh::node {

class EngineDecoder {
 public:
  EngineDecoder(std::string_view payload, EngineBatch& batch, const EngineBatchLimits& limits)
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
  bool field(EngineField field);
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
  const EngineBatchLimits limits_;
  BatchError error_ = BatchError::none;

  // Of the event being read.
  EngineEvent event_;
  bool has_hashes_ = false;
  bool unknown_medium_ = false;
  std::uint32_t positions_ = 0;    // elements of a positional event; 0: a map
  std::size_t extra_keys_at_ = 0;  // read last, because the adapter's name must be known; 0: none
};

}  // namespace dualmesh::node
