// RoutedRequest: one client request from its arrival to its end, and all it has taken on the way.
//
//   start -> (its tokens are asked for) -> waiting -> relaying -> ended
//                                            ^           |
//                                            +--- retry -+   only while the client has seen nothing
//
// What is relayed comes from an instance or, one hop away, from another node, which the scheduler
// has chosen to place the request. A hop is named by a header, and who bears it is not handed on;
// anybody may set it, and at worst waits here. A hop that fails is retried here, once.
//
// Two kinds: scheduled ones (chat, completions, embeddings, responses) are placed by the scheduler;
// the other /v1/ requests are passed through to the least loaded instance.
//
// Invariant: `end` runs exactly once on every path, and is the only place that tells the scheduler
// of the end, leaves the table of live requests and lets go of the exchange. Events that come later
// find `ended` and do nothing. Threads: everything on the I/O thread of the exchange. Source:
// Seastar's gate; "one owner gives everything back".
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/http_server.h"
#include "net/prompt_reader.h"
#include "node/router/failed_attempts.h"
#include "node/router/hit_audit.h"
#include "node/router/request_flow.h"

namespace dualmesh::node {

class RoutedRequest final : public net::RelayOwner,
                            public std::enable_shared_from_this<RoutedRequest> {
 public:
  struct Scheduled {
    policies::Arrival arrival;
    RoutedTokens tokens;
    bool streamed = false;  // the first token will be seen
    bool generates = true;  // goes on computing after the prefill
  };
  RoutedRequest(FlowThread& home, std::shared_ptr<net::Exchange> exchange,
                std::unique_ptr<IncomingRequest> incoming, policies::RequestId id,
                std::string model, Scheduled* scheduled);  // taken over; null: passed through
  ~RoutedRequest() override;

  void start(std::chrono::milliseconds timeout);  // 0: none
  // From the scheduler, through the thread's receiver.
  void placed(const Delivery& placed);
  void dispatched(const Delivery& dispatch, const ViewPointer& view);
  void handed(const Delivery& hop, const ViewPointer& view);
  void rejected(policies::Rejected why, double wait_s);
  void abort();  // the time for draining is up
  // Tried elsewhere if it waits for `slot` and the client has seen nothing.
  void instance_unhealthy(policies::Slot slot);
  const std::string& model() const { return model_; }
  // Is it where its n-th attempt has brought it?
  bool is_at_attempt(std::uint32_t n) const { return state_ == State::relaying && attempts_ == n; }

 private:
  enum class State : std::uint8_t { waiting, relaying, ended };
  enum class How : std::uint8_t { finished, failed, cancelled, rejected };

  void ask_for_tokens();
  void submit();
  policies::AdmissionAnswer ask_admission(const policies::Scheduler& scheduler,
                                          policies::Time now) const;
  void refuse(const policies::AdmissionAnswer& why);
  void leave_line();
  void pass_through();
  bool begins_relay(const Delivery& delivery);
  void limit_wait();
  void queue_timed_out();
  void deadline_passed();
  void client_gone(std::uint64_t bytes_out = 0);
  void relay_to(const std::string& destination);
  bool relay_head(net::HttpResponse& head) override;
  bool peers_head_arrived(net::HttpResponse& head);
  void answer_begins(const net::HttpResponse& head);
  void relay_body(std::string_view piece) override;
  void relay_done(const net::RelayResult& result) override;
  void judge_instance(const net::RelayResult& result);
  void attempt_failed(const net::RelayResult& result);
  void retry();
  void place_again();
  void give_up(const net::RelayResult& result);
  void write_down(RequestEnd end, std::uint64_t bytes_out);
  void end(How how);
  void end_with(How how, net::HttpResponse answer);
  void sign(net::HttpResponse& answer, How how);
  void leave_instance();
  bool may_retry(net::ClientError error) const;
  bool somebody_is_left() const;
  bool takes_retry(net::ClientError error);

  FlowThread& home_;
  std::shared_ptr<net::Exchange> exchange_;
  std::unique_ptr<IncomingRequest> incoming_;  // until it ends
  const policies::RequestId id_;
  const std::string model_;  // may be empty when passed through
  std::optional<Scheduled> scheduled_;
  std::vector<policies::BlockKey> blocks_;
  HitAudit audit_;
  RankChoices ranks_;
  RankPlace rank_place_;  // while at an instance of which one is chosen
  State state_ = State::waiting;
  policies::Time began_{};
  std::optional<policies::Time> deadline_;
  std::optional<std::uint64_t> in_line_;  // counted among those that wait, for this client
  policies::Slot slot_ = policies::kNoSlot;
  InstanceHealth::Era era_ = 0;       // in which it was sent there
  bool answer_begun_ = false;         // by the instance, without an error
  bool counted_at_instance_ = false;  // pass-through gauge
  std::string instance_name_;         // while it is away: of the node
  bool away_ = false;                 // relayed from another node
  policies::Reason reason_ = policies::Reason::none;
  std::uint32_t attempts_ = 0;  // at instances and other nodes
  std::uint32_t retries_ = 0;
  bool retry_granted_ = false;  // of the attempt that is being given up
  FailedAttempts failures_;
  std::vector<policies::Slot> tried_;  // pass-through only; the scheduler remembers its own
  int status_ = 0;
  std::uint64_t relayed_bytes_ = 0;  // of the answer's body
  std::optional<net::AnswerWatcher> watcher_;
  net::IoThread::Timer timer_;  // while waiting: the queue's limit, or the pause before a retry
  net::IoThread::Timer deadline_timer_;
};

}  // namespace dualmesh::node
