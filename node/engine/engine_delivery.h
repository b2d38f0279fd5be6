// How the emissions of the model become the answer to one request, whole or as a stream.
//
// Invariant: nothing is written once the client is gone, nor after the last emission.
// Threads: the request's I/O thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "net/http_server.h"
#include "node/engine/engine_answers.h"
#include "node/engine/engine_model.h"

namespace dualmesh::node {

// A request being answered; held by the clock until its last emission.
struct Active {
  std::shared_ptr<net::Exchange> exchange;
  Answer answer;
  bool stream = false;
  std::uint32_t sent = 0;  // tokens
  std::vector<std::uint64_t> embedding_seeds;
  EmbeddingOptions embedding;
  bool gone = false;
};

// `interval`: tokens per event of a stream, of which the first has one.
void deliver(Active& active, const Emission& emission, std::uint32_t interval);

}  // namespace dualmesh::node
