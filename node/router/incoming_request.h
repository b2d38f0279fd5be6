// IncomingRequest: what is known of a request between its head and its handler. Made by
// FrontDoor::head, carried by the exchange, taken back by FrontDoor::handle.
//
// Threads: on the request's I/O thread.
#pragma once

#include <optional>
#include <string_view>

#include "net/http_server.h"
#include "node/router/prompt_intake.h"

namespace dualmesh::node {

class IncomingRequest final : public net::BodyListener {
 public:
  void grown(std::string_view body) override {
    if (prompt) prompt->grown(body);
  }

  std::optional<PromptIntake> prompt;  // where the endpoint has one
};

}  // namespace dualmesh::node
