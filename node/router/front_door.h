// FrontDoor: the first look at every request: which path, whether its key is known, and who
// answers.
//
//   /health /ready /metrics     this node, without a key
//   /v1/models, /v1/models/ID   merged over the instances
//   /v1/...                     RequestFlow
//
// Threads: handle() on any I/O thread; the answers it asks for must be thread-safe.
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

  void handle(std::shared_ptr<net::Exchange> exchange);

 private:
  bool is_known(std::string_view key) const;
  void answer_api(std::shared_ptr<net::Exchange> exchange);
  net::HttpResponse answer_model(std::string_view encoded_id) const;
  net::HttpResponse answer_own(std::string_view path) const;

  RequestFlow& flow_;
  const std::vector<std::string> api_keys_;
  const Answers answers_;
};

}  // namespace dualmesh::node
