#include "node/router/incoming_request.h"

#include "node/access/trace_context.h"

namespace dualmesh::node {

IncomingRequest::IncomingRequest(const net::HttpRequest& head, std::mt19937_64& random,
                                 const AccessKeeping& keeping, std::size_t thread)
    : id(RequestId::of(head.headers, random)), drops_trace(read_trace_context(head.headers).drops) {
  if (keeping.log) begin_record(head, keeping, thread);
}

void IncomingRequest::begin_record(const net::HttpRequest& head, const AccessKeeping& keeping,
                                   std::size_t thread) {
  entry_ = std::make_unique<Entry>(Entry{keeping, thread, keeping.now(), {}});
  AccessRecord& record = entry_->record;
  constexpr std::size_t kMost = AccessRecord::kMostTextBytes;
  record.time_us = keeping.wall_us();
  record.id = id;
  record.trace_id = read_trace_context(head.headers).trace_id;
  record.client = head.peer;
  record.method = head.method.substr(0, kMost);
  record.path = head.path().substr(0, kMost);
}

IncomingRequest::~IncomingRequest() {
  if (asker.answers) asker.answers->add(status_);
  if (!entry_) return;
  entry_->record.tenant = asker.tenant;
  entry_->record.total_s = policies::to_seconds(entry_->keeping.now() - entry_->arrived);
  entry_->keeping.log->add(entry_->thread, std::move(entry_->record));
}

void IncomingRequest::grown(std::string_view body) {
  if (entry_) entry_->record.bytes_in = body.size();
  if (prompt) prompt->grown(body);
}

void IncomingRequest::refused(net::HttpResponse& answer) {
  sign(answer, answer.status == 408 ? RequestEnd::timeout : RequestEnd::refused);
}

void IncomingRequest::sign(net::HttpResponse& answer, RequestEnd end) {
  answer.headers.set(kRequestIdHeader, id.text());
  status_ = answer.status;
  if (!entry_) return;
  entry_->record.status = answer.status;
  entry_->record.bytes_out = answer.body.size();
  entry_->record.end = end;
}

}  // namespace dualmesh::node
