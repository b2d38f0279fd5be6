#include "node/replay/load_generator.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <nlohmann/json.hpp>

#include "net/http_client.h"
#include "net/prompt_reader.h"

namespace dualmesh::node {

using nlohmann::json;
using Wall = std::chrono::steady_clock;

namespace {

double seconds(Wall::duration d) { return std::chrono::duration<double>(d).count(); }
Wall::duration wall_duration(double s) {
  return std::chrono::duration_cast<Wall::duration>(std::chrono::duration<double>(s));
}

net::HttpRequest chat_request(const ReplayRequest& wanted, const std::string& model) {
  net::HttpRequest request{.method = "POST", .target = "/v1/chat/completions"};
  request.headers.set("content-type", "application/json");
  json body = {{"model", model},
               {"messages", json::array({{{"role", "user"}, {"content", prompt_text(wanted)}}})},
               {"max_tokens", wanted.output_tokens},
               {"ignore_eos", true},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}};
  if (!wanted.user.empty()) body["user"] = wanted.user;
  request.body = body.dump();
  return request;
}

// What an error answer says, in a few words.
std::string error_reason(int status, const std::string& body) {
  const json answer = json::parse(body, nullptr, false);
  std::string reason = fmt::format("HTTP {}", status);
  if (!answer.is_object() || !answer.contains("error") || !answer["error"].is_object()) {
    return reason;
  }
  const json& error = answer["error"];
  for (const char* key : {"code", "message"}) {
    if (auto at = error.find(key); at != error.end() && at->is_string()) {
      return reason + " " + at->get<std::string>().substr(0, 120);
    }
  }
  return reason;
}

constexpr std::size_t kErrorBodyBytes = 4096;

}  // namespace

class LoadGenerator::Run : public std::enable_shared_from_this<Run> {
 public:
  Run(net::IoThread& thread, const Workload& workload, LoadOptions options)
      : thread_(thread),
        workload_(workload),
        options_(std::move(options)),
        addresses_(options_.targets),
        client_(thread, {}) {
    timeouts_.first_byte = timeouts_.idle =
        std::chrono::milliseconds(static_cast<std::int64_t>(options_.timeout_s * 1000.0));
    results_.reserve(workload.requests.size());  // results keep their place while in flight
  }

  void start(Callbacks callbacks) {
    callbacks_ = std::move(callbacks);
    if (stopping_) return finish_if_over();
    if (options_.dns_host.empty()) return begin();
    look_up([self = shared_from_this()] { self->begin(); });
  }

  void stop() {
    stopping_ = true;
    timer_.reset();
    dns_timer_.reset();
    for (const FlightPtr& flight : std::vector(flying_)) {
      if (flight->call) flight->call->cancel();
      end(flight, Outcome::failed, "interrupted");
    }
    finish_if_over();
  }

  net::IoThread& thread() { return thread_; }
  LoadProgress progress() const {
    std::lock_guard lock(progress_mutex_);
    return progress_;
  }
  const std::vector<RequestResult>& results() const { return results_; }

 private:
  // One request on its way.
  struct Flight {
    std::size_t index = 0;
    std::size_t attempts = 0;
    std::uint32_t output_tokens = 0;
    net::HttpRequest request;
    std::shared_ptr<net::ClientCall> call;
    net::AnswerWatcher watcher{true};
    int status = 0;
    std::string error_body;
    Wall::time_point due;
    Wall::time_point last_piece;
    bool over = false;
  };
  using FlightPtr = std::shared_ptr<Flight>;

  void begin() {
    if (stopping_ || done_) return;
    origin_ = Wall::now();
    prepare();
    schedule();
  }

  Wall::time_point due(std::size_t index) const {
    const auto arrival = workload_.requests[index].arrival;
    return origin_ + wall_duration(policies::to_seconds(arrival) / options_.speed);
  }

  // The body of the next request is made ahead of its time, so that making it delays nothing.
  void prepare() {
    prepared_ = results_.size() < workload_.requests.size()
                    ? chat_request(workload_.requests[results_.size()], options_.model)
                    : net::HttpRequest{};
  }

  void schedule() {
    if (stopping_ || results_.size() == workload_.requests.size()) return finish_if_over();
    const auto delay = std::max(due(results_.size()) - Wall::now(), Wall::duration::zero());
    timer_ = thread_.after(delay, [self = shared_from_this()] {
      self->send_next();
      self->prepare();
      self->schedule();
    });
  }

  void send_next() {
    const std::size_t index = results_.size();
    if (index == std::min(options_.warmup, workload_.requests.size() - 1) && callbacks_.measuring) {
      callbacks_.measuring();
    }
    const ReplayRequest& wanted = workload_.requests[index];
    auto flight = std::make_shared<Flight>();
    flight->index = index;
    flight->output_tokens = wanted.output_tokens;
    flight->request = std::move(prepared_);
    flight->due = due(index);
    RequestResult result;
    result.counted = index >= options_.warmup;
    result.arrival_s = policies::to_seconds(wanted.arrival);
    result.send_lateness_wall_s = seconds(Wall::now() - flight->due);
    results_.push_back(std::move(result));
    flying_.push_back(flight);
    attempt(flight);
    std::lock_guard lock(progress_mutex_);
    ++progress_.sent;
    ++progress_.in_flight;
    progress_.model_s = policies::to_seconds(wanted.arrival);
  }

  void attempt(const FlightPtr& flight) {
    if (addresses_.empty()) return end(flight, Outcome::failed, "the name has no address");
    const std::string destination = addresses_[next_address_++ % addresses_.size()];
    ++flight->attempts;
    auto self = shared_from_this();
    net::ClientHandler handler;
    handler.on_head = [self, flight](const net::HttpResponse& head) {
      flight->status = head.status;
      RequestResult& result = self->results_[flight->index];
      result.node = head.headers.find("x-dualmesh-node");
      result.instance = head.headers.find("x-dualmesh-instance");
    };
    handler.on_body = [self, flight](std::string_view piece) { self->on_body(*flight, piece); };
    handler.on_done = [self, flight](net::ClientError error) { self->on_done(flight, error); };
    flight->call = client_.send(destination, flight->request, timeouts_, std::move(handler));
  }

  void on_body(Flight& flight, std::string_view piece) {
    if (flight.status != 200) {
      flight.error_body.append(
          piece.substr(0, kErrorBodyBytes - std::min(kErrorBodyBytes, flight.error_body.size())));
      return;
    }
    flight.last_piece = Wall::now();
    if (flight.watcher.feed(piece)) {
      results_[flight.index].ttft_s = seconds(flight.last_piece - flight.due) * options_.speed;
    }
  }

  void on_done(const FlightPtr& flight, net::ClientError error) {
    if (flight->over) return;
    RequestResult& result = results_[flight->index];
    if (error == net::ClientError::connect || error == net::ClientError::resolve) {
      if (flight->attempts < addresses_.size()) {
        ++result.connect_retries;
        return attempt(flight);
      }
      return end(flight, Outcome::failed, net::to_string(error));
    }
    if (error != net::ClientError::none) {
      return end(flight, Outcome::failed, net::to_string(error));
    }
    if (flight->status != 200) {
      const bool busy = flight->status == 429 || flight->status == 503;
      return end(flight, busy ? Outcome::rejected : Outcome::failed,
                 error_reason(flight->status, flight->error_body));
    }
    result.prompt_tokens = flight->watcher.prompt_tokens();
    result.cached_tokens = flight->watcher.cached_tokens();
    result.completion_tokens = flight->watcher.completion_tokens();
    if (result.completion_tokens != flight->output_tokens) {
      return end(flight, Outcome::failed,
                 fmt::format("{} answer", result.completion_tokens == 0 ? "unfinished" : "short"));
    }
    result.e2e_s = seconds(flight->last_piece - flight->due) * options_.speed;
    if (result.completion_tokens > 1) {
      result.itl_s = (result.e2e_s - result.ttft_s) / (result.completion_tokens - 1);
    }
    end(flight, Outcome::completed, {});
  }

  void end(const FlightPtr& flight, Outcome outcome, std::string reason) {
    flight->over = true;
    flight->call.reset();
    RequestResult& result = results_[flight->index];
    result.outcome = outcome;
    result.reason = std::move(reason);
    if (outcome != Outcome::completed) {
      result.ttft_s = result.e2e_s = std::numeric_limits<double>::infinity();
    }
    std::erase(flying_, flight);
    publish(result);
    finish_if_over();
  }

  void publish(const RequestResult& result) {
    std::lock_guard lock(progress_mutex_);
    --progress_.in_flight;
    if (result.outcome != Outcome::completed) {
      ++progress_.not_completed;
      return;
    }
    const double weight = ++progress_.completed == 1 ? 1.0 : 0.05;
    progress_.recent_ttft_s += weight * (result.ttft_s - progress_.recent_ttft_s);
  }

  void finish_if_over() {
    if (done_ || !callbacks_.done || !flying_.empty()) return;  // without done: not started
    if (!stopping_ && results_.size() < workload_.requests.size()) return;
    done_ = true;
    timer_.reset();
    dns_timer_.reset();
    callbacks_.done();
  }

  void look_up(std::function<void()> then) {
    net::resolve(thread_, options_.dns_host, options_.dns_port,
                 [self = shared_from_this(), then = std::move(then)](
                     std::vector<std::string> addresses, const std::string&) {
                   if (!addresses.empty()) self->addresses_ = std::move(addresses);
                   if (then) then();
                   if (!self->done_ && !self->stopping_) self->look_up_later();
                 });
  }
  void look_up_later() {
    dns_timer_ = thread_.after(wall_duration(options_.dns_refresh_s),
                               [self = shared_from_this()] { self->look_up({}); });
  }

  net::IoThread& thread_;
  const Workload& workload_;
  const LoadOptions options_;
  std::vector<std::string> addresses_;
  std::size_t next_address_ = 0;
  net::HttpClient client_;
  net::ClientTimeouts timeouts_;
  Callbacks callbacks_;
  Wall::time_point origin_;
  net::HttpRequest prepared_;
  net::IoThread::Timer timer_;
  net::IoThread::Timer dns_timer_;
  std::vector<RequestResult> results_;  // of requests [0, size)
  std::vector<FlightPtr> flying_;
  bool stopping_ = false;
  bool done_ = false;
  mutable std::mutex progress_mutex_;
  LoadProgress progress_;
};

LoadGenerator::LoadGenerator(net::IoThread& thread, const Workload& workload, LoadOptions options)
    : run_(std::make_shared<Run>(thread, workload, std::move(options))) {}

LoadGenerator::~LoadGenerator() = default;

void LoadGenerator::start(Callbacks callbacks) {
  run_->thread().post([run = run_, callbacks = std::move(callbacks)]() mutable {
    run->start(std::move(callbacks));
  });
}

void LoadGenerator::stop() {
  run_->thread().post([run = run_] { run->stop(); });
}

LoadProgress LoadGenerator::progress() const { return run_->progress(); }
const std::vector<RequestResult>& LoadGenerator::results() const { return run_->results(); }

}  // namespace dualmesh::node
