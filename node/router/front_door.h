// FrontDoor: the first look at every request: which path, whether its key is known, and who
// answers.
//
//   /health /ready              this node, without a key
//   /metrics                    this node, with http.metrics_token where there is one
//   /v1/models, /v1/models/ID   merged over the instances
//   /v1/...                     RequestFlow
//
// The key is judged when the head is complete, before a byte of the body is read. Bodies whose
// prompts are to be read must come as they are: a compressed one is refused with 415, then too.
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
#include "node/identity/tenants.h"
#include "node/metrics/metrics_text.h"
#include "node/router/incoming_request.h"
#include "node/router/models_list.h"
#include "node/router/readiness.h"

namespace dualmesh::node {

class RequestFlow;

class FrontDoor {
 public:
  struct Answers {
    std::function<Readiness()> ready;
    std::function<std::string()> metrics;
    std::function<std::vector<ListedModel>()> models;
  };
  struct Settings {
    std::string metrics_token;  // in clear or as a digest; empty: none is needed
    std::size_t threads = 1;
    std::function<std::uint64_t()> seed;  // of the request ids made on each thread
    AccessKeeping access;
    AnswerCounts& answers_of_nobody;  // without a tenant; outlives every request
  };
  FrontDoor(RequestFlow& flow, const Tenants& tenants, Settings settings, Answers answers);

  // With the head of a request, before its body: what is refused at once, and what will know of it.
  net::HeadVerdict head(const net::HttpRequest& head, net::IoThread& thread);
  void append_answers(MetricsText& out) const;
  // REQUIRES the listener that head() gave.
  void handle(std::shared_ptr<net::Exchange> exchange);

 private:
  bool may_ask(const net::HttpRequest& head, Asker& asker) const;
  net::HttpResponse unauthorized(const net::HttpRequest& head) const;
  static void respond(net::Exchange& exchange, IncomingRequest& incoming, net::HttpResponse answer);
  void answer_api(std::shared_ptr<net::Exchange> exchange,
                  std::unique_ptr<IncomingRequest> incoming);
  net::HttpResponse answer_model(std::string_view encoded_id) const;
  net::HttpResponse answer_own(std::string_view path) const;

  RequestFlow& flow_;
  const Tenants& tenants_;
  const std::optional<KeyDigest> metrics_token_;
  const AccessKeeping access_;
  std::vector<std::mt19937_64> random_;  // by thread
  const Answers answers_;
  AnswerCounts& answers_of_nobody_;
};

}  // namespace dualmesh::node
