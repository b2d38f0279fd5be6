// IncomingRequest: what is known of a request since its head was complete. FrontDoor::head makes
// it; it goes with the exchange while the body arrives, and then to whoever answers.
//
// Invariant: one per head; where an access log is kept, its end writes one record, whatever ended
// it. Threads: on the connection's thread.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "net/http_server.h"
#include "node/access/access_log.h"
#include "node/access/request_id.h"
#include "node/identity/tenant.h"
#include "node/router/prompt_intake.h"
#include "policies/time.h"

namespace dualmesh::node {

// On whose behalf a request asks.
struct Asker {
  std::shared_ptr<const Tenant> tenant;  // null where no key is needed
  // The client of fairness: the tenant; without one the key, if there is one. 0: the `user` of the
  // body says it. Under a tenant `user` counts for nothing: a tenant has its share once, however
  // many users it names.
  std::uint64_t client = 0;
  AnswerCounts* answers = nullptr;  // where its answer is counted; null: nowhere

  const NamespaceSalt& salt() const {
    static const NamespaceSalt shared;
    return tenant ? tenant->salt : shared;
  }
  std::uint64_t client_or(std::string_view user) const {
    return client != 0 ? client : policies::client_key(user);
  }
};

// Where and when requests are written down.
struct AccessKeeping {
  AccessLog* log = nullptr;  // null: nowhere
  std::function<policies::Time()> now;
  std::function<std::int64_t()> wall_us;
};

class IncomingRequest final : public net::BodyListener {
 public:
  IncomingRequest(const net::HttpRequest& head, std::mt19937_64& random,
                  const AccessKeeping& keeping, std::size_t thread);
  ~IncomingRequest() override;

  void grown(std::string_view body) override;
  void refused(net::HttpResponse& answer) override;

  // An answer of this node's own: it gets the request's id, and the record says what it was.
  void sign(net::HttpResponse& answer, RequestEnd end);
  void answered(int status) { status_ = status; }  // by an instance
  // Null where nothing is written down.
  AccessRecord* record() { return entry_ ? &entry_->record : nullptr; }

  Asker asker;
  const RequestId id;
  const bool drops_trace;              // a malformed trace context does not go further
  std::optional<PromptIntake> prompt;  // where the endpoint has one

 private:
  struct Entry {
    const AccessKeeping& keeping;  // the front door's
    std::size_t thread;
    policies::Time arrived;
    AccessRecord record;
  };
  void begin_record(const net::HttpRequest& head, const AccessKeeping& keeping, std::size_t thread);

  std::unique_ptr<Entry> entry_;
  int status_ = 0;  // 0: no answer began
};

}  // namespace dualmesh::node
