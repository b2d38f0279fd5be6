#include "node/engine/event_encoder.h"

#include <array>

#include "net/error.h"
#include "node/engine/msgpack_writer.h"

namespace dualmesh::node {

using policies::BlockKey;

namespace {

const KvPrompt kNoPrompt;

class Encoder {
 public:
  explicit Encoder(const KvEncoding& encoding) : encoding_(encoding) {}

  std::string batch(double unix_s, std::span<const KvEvent> events,
                    std::optional<std::uint32_t> rank) {
    out_.array(3);
    out_.real(unix_s);
    std::size_t count = 0;
    for (const KvEvent& event : events) count += on_the_wire(event);
    out_.array(count);
    for (const KvEvent& event : events) {
      std::visit([this](const auto& one) { write(one); }, event);
    }
    rank ? out_.number(*rank) : out_.nil();
    return out_.take();
  }

 private:
  std::size_t on_the_wire(const KvEvent& event) const {
    const auto* removed = std::get_if<KvRemoved>(&event);
    return removed && !is_sglang(encoding_.format) ? removed->hashes.size() : 1;
  }

  // Begins an event of so many fields beside its tag.
  void begin(std::string_view tag, std::size_t fields) {
    if (has_maps(encoding_.format)) {
      out_.map(fields + 1);
      out_.text("type");
    } else {
      out_.array(fields + 1);
    }
    out_.text(tag);
  }
  void name(std::string_view key) {
    if (has_maps(encoding_.format)) out_.text(key);
  }

  void hash(BlockKey key) {
    if (encoding_.hashes_as_bytes) {
      std::string digest(24, '\0');  // only its end is ours to fill
      for (std::size_t i = 0; i < digest.size(); ++i) {
        digest[i] = static_cast<char>((key >> (i % 8 * 8)) ^ (i * 0x9d));
      }
      for (int shift = 56; shift >= 0; shift -= 8) digest += static_cast<char>(key >> shift);
      out_.bytes(digest);
    } else if (is_sglang(encoding_.format)) {
      out_.signed_number(static_cast<std::int64_t>(key));
    } else {
      out_.number(key);
    }
  }
  void hashes(std::span<const BlockKey> keys) {
    name("block_hashes");
    out_.array(keys.size());
    for (const BlockKey key : keys) hash(key);
  }

  void text_or_nil(std::string_view text) { text.empty() ? out_.nil() : out_.text(text); }

  void write(const KvStored& stored) {
    const KvPrompt& prompt = stored.prompt ? *stored.prompt : kNoPrompt;
    const bool sglang = is_sglang(encoding_.format);
    const bool maps = has_maps(encoding_.format);
    std::size_t fields = sglang ? 6 : (maps ? 10 : 8);
    if (sglang && !prompt.salt.empty()) ++fields;
    if (sglang && maps && !prompt.lora.empty()) ++fields;
    begin("BlockStored", fields);
    hashes(stored.hashes);
    name("parent_block_hash");
    stored.first_block > 0 ? hash(stored.parent) : out_.nil();
    tokens(stored, prompt);
    name("block_size");
    out_.number(encoding_.block_tokens);
    name("lora_id");
    prompt.lora_number > 0 ? out_.number(prompt.lora_number) : out_.nil();
    name("medium");
    out_.text("GPU");
    sglang ? sglang_rest(prompt) : vllm_rest(stored, prompt);
  }

  void tokens(const KvStored& stored, const KvPrompt& prompt) {
    name("token_ids");
    const std::size_t from = stored.first_block * encoding_.block_tokens;
    const std::size_t count = stored.hashes.size() * encoding_.block_tokens;
    DUALMESH_CHECK(from + count <= prompt.tokens.size(), "{} tokens from {} of {}", count, from,
                   prompt.tokens.size());
    out_.array(count);
    for (const policies::TokenId id : std::span(prompt.tokens).subspan(from, count)) {
      out_.number(id);
    }
  }

  void vllm_rest(const KvStored& stored, const KvPrompt& prompt) {
    name("lora_name");
    text_or_nil(prompt.lora);
    name("extra_keys");
    out_.array(stored.hashes.size());
    for (std::size_t i = 0; i < stored.hashes.size(); ++i) {
      const bool salted = stored.first_block + i == 0 && !prompt.salt.empty();
      const std::size_t items = (prompt.lora.empty() ? 0u : 1u) + (salted ? 1u : 0u);
      if (items == 0) {
        out_.nil();
        continue;
      }
      out_.array(items);
      if (!prompt.lora.empty()) out_.text(prompt.lora);
      if (salted) out_.text(prompt.salt);
    }
    if (!has_maps(encoding_.format)) return;
    group();
    out_.text("kv_cache_spec_kind");
    out_.text("full_attention");
  }

  // Arrays have no place for the adapter's name and say the salt last.
  void sglang_rest(const KvPrompt& prompt) {
    if (!prompt.salt.empty()) {
      name("cache_salt");
      out_.text(prompt.salt);
    }
    if (!prompt.lora.empty() && has_maps(encoding_.format)) {
      out_.text("lora_name");
      out_.text(prompt.lora);
    }
  }

  void group() {
    out_.text("group_idx");
    out_.number(0);
  }

  void write(const KvRemoved& removed) {
    const std::span<const BlockKey> all(removed.hashes);
    if (is_sglang(encoding_.format)) return write_removed(all);
    for (std::size_t i = 0; i < all.size(); ++i) write_removed(all.subspan(i, 1));
  }
  void write_removed(std::span<const BlockKey> keys) {
    const bool grouped = encoding_.format == KvFormat::vllm;
    begin("BlockRemoved", grouped ? 3 : 2);
    hashes(keys);
    name("medium");
    out_.text("GPU");
    if (grouped) group();
  }

  void write(const KvCleared&) { begin("AllBlocksCleared", 0); }

  const KvEncoding encoding_;
  MsgpackWriter out_;
};

}  // namespace

std::string encode_batch(const KvEncoding& encoding, double unix_s, std::span<const KvEvent> events,
                         std::optional<std::uint32_t> rank) {
  return Encoder(encoding).batch(unix_s, events, rank);
}

}  // namespace dualmesh::node
