#include "node/kv/engine_batch.h"

#include <array>

#include "node/kv/engine_decoder.h"

namespace dualmesh::node {
namespace {

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
  const BatchError error = EngineDecoder(payload, batch, limits).batch();
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
