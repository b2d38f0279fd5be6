// FrontDoor: the first look at every request: which path, whether its key is known, and who
// answers.
//
//   /health /ready /metrics     this node, without a key
//   /v1/models, /v1/models/ID   merged over the instances
//   /v1/...                     RequestFlow
//
// Bodies whose prompts are to be read must come as they are: a compressed one is refused with 415
// at its head.
//
// Threads: head() and handle() on any I/O thread; the answers it asks for must be thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_server.h"
#include "node/router/models_list.h"

namespace dualmesh::node {

class IncomingRequest;
class RequestFlow;

// Compares in a time that depends on the lengths only.
bool equal_in_constant_time(std::string_view a, std::string_view b);

class FrontDoor {
 public:
  struct Answers {
    std::function<std::string()> not_ready_reason;  // empty: ready
    std::function<std::string()> metrics;
    std::function<std::vector<ListedModel>()> models;
  };
  FrontDoor(RequestFlow& flow, std::vector<std::string> api_keys, Answers answers);

  // With the head of a request, before its body: what is refused at once, and what will know of it.
  net::HeadVerdict head(const net::HttpRequest& head, net::IoThread& thread);
  void handle(std::shared_ptr<net::Exchange> exchange);

 private:
  bool is_known(std::string_view key) const;
  void answer_api(std::shared_ptr<net::Exchange> exchange, IncomingRequest* incoming);
  net::HttpResponse answer_model(std::string_view encoded_id) const;
  net::HttpResponse answer_own(std::string_view path) const;

  RequestFlow& flow_;
  const std::vector<std::string> api_keys_;
  const Answers answers_;
};

}  // namespace dualmesh::node
