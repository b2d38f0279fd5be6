#include "node/tokens/tokenizer_client.h"

#include <utility>

#include "node/tokens/tokenize_messages.h"

namespace dualmesh::node {

namespace {

TokenizeEnd end_of(int status) {
  if (status == 404 || status == 405 || status == 501) return TokenizeEnd::unable;
  const bool is_busy = status == 408 || status == 429;
  return status >= 400 && status < 500 && !is_busy ? TokenizeEnd::refused : TokenizeEnd::late;
}

class Asking : public std::enable_shared_from_this<Asking> {
 public:
  Asking(TokenizeGates& gates, std::function<policies::Time()> clock, std::string address,
         net::TokenForm form, TokenizerClient::Done done)
      : gates_(gates),
        clock_(std::move(clock)),
        address_(std::move(address)),
        form_(form),
        done_(std::move(done)) {}
  Asking(const Asking&) = delete;
  Asking& operator=(const Asking&) = delete;
  ~Asking() {
    if (ended_) return;
    if (call_) call_->cancel();
    gates_.answered(address_, form_, TokenizeEnd::called_off, clock_());
  }

  void start(net::HttpClient& client, net::IoThread& thread, TokenQuestion question,
             std::chrono::milliseconds timeout) {
    net::HttpRequest head;
    head.method = "POST";
    head.target = "/tokenize";
    head.headers.add("Content-Type", "application/json");
    if (!question.authorization.empty()) head.headers.add("Authorization", question.authorization);
    head.body = std::move(question.body);
    // The timer is the one that counts; the client's own come later, if at all.
    const net::ClientTimeouts timeouts{timeout * 2, timeout * 2, timeout * 2};
    net::ClientHandler handler;
    const auto weak = weak_from_this();
    handler.on_head = [weak](const net::HttpResponse& answer) {
      if (const auto self = weak.lock()) self->status_ = answer.status;
    };
    handler.on_body = [weak](std::string_view piece) {
      if (const auto self = weak.lock()) self->arrived(piece);
    };
    handler.on_done = [weak](net::ClientError error) {
      if (const auto self = weak.lock()) self->answered(error);
    };
    timer_ = thread.after(timeout, [weak] {
      if (const auto self = weak.lock()) self->end(TokenizeEnd::late, {});
    });
    call_ = client.send(address_, std::move(head), timeouts, std::move(handler));
    if (ended_) call_.reset();
  }

 private:
  void arrived(std::string_view piece) {
    if (ended_) return;
    if (answer_.size() + piece.size() > kMaxTokenizeAnswer) {
      return end(TokenizeEnd::malformed, {});
    }
    answer_ += piece;
  }

  void answered(net::ClientError error) {
    if (ended_) return;
    call_.reset();  // over, nothing to cancel
    if (error != net::ClientError::none) return end(TokenizeEnd::late, {});
    if (status_ != 200) return end(end_of(status_), {});
    auto tokens = read_tokenize_answer(answer_);
    if (!tokens || tokens->empty()) return end(TokenizeEnd::malformed, {});
    end(TokenizeEnd::tokens,
        std::make_shared<const std::vector<policies::TokenId>>(std::move(*tokens)));
  }

  void end(TokenizeEnd how, TokenList tokens) {
    if (std::exchange(ended_, true)) return;
    const auto self = shared_from_this();
    timer_.reset();
    if (const auto call = std::exchange(call_, nullptr)) call->cancel();
    gates_.answered(address_, form_, how, clock_());
    const auto done = std::move(done_);
    done(std::move(tokens), how);
  }

  TokenizeGates& gates_;
  const std::function<policies::Time()> clock_;
  const std::string address_;
  const net::TokenForm form_;
  TokenizerClient::Done done_;
  std::shared_ptr<net::ClientCall> call_;
  net::IoThread::Timer timer_;
  int status_ = 0;
  std::string answer_;
  bool ended_ = false;
};

}  // namespace

TokenizerClient::Handle TokenizerClient::ask(TokenQuestion question, Done done) {
  const auto asking =
      std::make_shared<Asking>(gates_, clock_, question.address, question.form, std::move(done));
  asking->start(client_, thread_, std::move(question), timeout_);
  return asking;
}

}  // namespace dualmesh::node
