#include "node/engine/engine_delivery.h"

namespace dualmesh::node {

namespace {

void deliver_stream(Active& active, const Emission& emission, std::uint32_t interval) {
  const std::uint32_t ready = emission.token + 1;
  std::string out;
  if (emission.token == 0) out = stream_open(active.answer);
  if (emission.token == 0 || emission.finished || ready - active.sent >= interval) {
    out += stream_piece(active.answer, active.sent, ready);
    active.sent = ready;
  }
  if (emission.finished) out += stream_close(active.answer);
  if (!out.empty()) active.exchange->write(out);
  if (emission.finished) active.exchange->end();
}

}  // namespace

void deliver(Active& active, const Emission& emission, std::uint32_t interval) {
  if (active.gone) return;
  active.answer.cached_tokens = emission.cached_tokens;
  if (active.stream) {
    deliver_stream(active, emission, interval);
  } else if (emission.finished) {
    std::string body =
        active.answer.endpoint == net::Endpoint::embeddings
            ? embeddings_answer(active.answer, active.embedding_seeds, active.embedding)
            : whole_answer(active.answer);
    active.exchange->respond(net::json_response(200, std::move(body)));
  }
}

}  // namespace dualmesh::node
