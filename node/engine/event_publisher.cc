#include "node/engine/event_publisher.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <deque>
#include <mutex>
#include <random>
#include <string_view>
#include <thread>

namespace dualmesh::node {

namespace {

constexpr std::uint64_t kEnd = UINT64_MAX;
constexpr int kEventsHwm = 100'000;  // batches, as engines have it

struct CloseSocket {
  void operator()(void* socket) const { zmq_close(socket); }
};
using Socket = std::unique_ptr<void, CloseSocket>;

std::string big_endian(std::uint64_t value) {
  std::string out;
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
  return out;
}

// A whole message; what a peer cannot take is dropped, as engines do.
void send(void* socket, std::initializer_list<std::string_view> frames) {
  std::size_t left = frames.size();
  for (const std::string_view frame : frames) {
    const int flags = ZMQ_DONTWAIT | (--left > 0 ? ZMQ_SNDMORE : 0);
    if (zmq_send(socket, frame.data(), frame.size(), flags) < 0) return;
  }
}

// The frames of one message; empty when none waits.
std::vector<std::string> receive(void* socket) {
  std::vector<std::string> frames;
  int more = 1;
  while (more) {
    zmq_msg_t message;
    zmq_msg_init(&message);
    if (zmq_msg_recv(&message, socket, ZMQ_DONTWAIT) < 0) {
      zmq_msg_close(&message);
      return {};
    }
    frames.emplace_back(static_cast<const char*>(zmq_msg_data(&message)), zmq_msg_size(&message));
    more = zmq_msg_more(&message);
    zmq_msg_close(&message);
  }
  return frames;
}

net::Result<Socket> bind(void* context, int type, int hwm, const std::string& endpoint) {
  Socket socket(zmq_socket(context, type));
  DUALMESH_CHECK(socket, "zmq_socket: {}", zmq_strerror(zmq_errno()));
  const int linger_ms = 500;  // at the end, for what has been sent
  const int with_ipv6 = endpoint.find('[') != std::string::npos;
  zmq_setsockopt(socket.get(), ZMQ_IPV6, &with_ipv6, sizeof with_ipv6);
  zmq_setsockopt(socket.get(), ZMQ_SNDHWM, &hwm, sizeof hwm);
  zmq_setsockopt(socket.get(), ZMQ_LINGER, &linger_ms, sizeof linger_ms);
  if (zmq_bind(socket.get(), endpoint.c_str()) != 0) {
    return net::Error{fmt::format("cannot bind {}: {}", endpoint, zmq_strerror(zmq_errno()))};
  }
  return socket;
}

std::string bound_to(const Socket& socket) {
  char endpoint[256] = {};
  std::size_t size = sizeof endpoint;
  zmq_getsockopt(socket.get(), ZMQ_LAST_ENDPOINT, endpoint, &size);
  return endpoint;
}

struct Stream {
  EventStreamSettings settings;
  Socket events, replay;
  std::uint64_t next = 0;            // sequence number
  std::deque<std::string> recent{};  // payloads before `next`
};

struct Batch {
  std::size_t stream;
  std::vector<KvEvent> events;
  double unix_s;
};

}  // namespace

struct EventPublisher::State {
  explicit State(std::uint64_t seed)
      : context(zmq_ctx_new()), wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), random(seed) {
    DUALMESH_CHECK(context && wake >= 0, "no ZeroMQ context or eventfd");
  }
  ~State() {
    stop();
    streams.clear();
    zmq_ctx_term(context);
    close(wake);
  }

  void signal() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = write(wake, &one, sizeof one);
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    signal();
    if (thread.joinable()) thread.join();
  }

  // One round: what was published, then the requests that waited. False when it is over.
  bool round() {
    // Requests are read first, so that what was published before them is in their answer.
    std::vector<std::pair<Stream*, std::vector<std::string>>> requests;
    for (Stream& stream : streams) {
      if (!stream.replay) continue;
      for (auto frames = receive(stream.replay.get()); !frames.empty();
           frames = receive(stream.replay.get())) {
        requests.emplace_back(&stream, std::move(frames));
      }
    }
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = read(wake, &count, sizeof count);
    std::vector<Batch> batches;
    bool last = false;
    {
      const std::lock_guard lock(mutex);
      batches.swap(queued);
      last = stopping;
    }
    for (const Batch& batch : batches) publish(batch);
    for (const auto& [stream, request] : requests) replay(*stream, request);
    return !last;
  }

  void run() {
    std::vector<zmq_pollitem_t> items{{nullptr, wake, ZMQ_POLLIN, 0}};
    for (const Stream& stream : streams) {
      if (stream.replay) items.push_back({stream.replay.get(), 0, ZMQ_POLLIN, 0});
    }
    while (round()) zmq_poll(items.data(), static_cast<int>(items.size()), -1);
  }

  bool strikes(double probability) {
    return probability > 0.0 && std::uniform_real_distribution<>(0.0, 1.0)(random) < probability;
  }

  void publish(const Batch& batch) {
    Stream& stream = streams[batch.stream];
    const EventStreamSettings& settings = stream.settings;
    const std::string payload =
        encode_batch(settings.encoding, batch.unix_s, batch.events,
                     settings.says_rank ? std::optional(settings.rank) : std::nullopt);
    const std::string sequence = big_endian(stream.next++);
    const int times = strikes(settings.loss) ? 0 : (strikes(settings.duplicate) ? 2 : 1);
    for (int i = 0; i < times; ++i) send(stream.events.get(), {settings.topic, sequence, payload});
    stream.recent.push_back(payload);
    if (stream.recent.size() > settings.buffer_steps) stream.recent.pop_front();
  }

  void replay(Stream& stream, const std::vector<std::string>& request) {
    if (request.size() != 3 || !request[1].empty() || request[2].size() != 8) return;
    std::uint64_t from = 0;
    for (const char byte : request[2]) from = from << 8 | static_cast<unsigned char>(byte);
    const auto answer = [&](std::uint64_t sequence, std::string_view payload) {
      const std::string number = big_endian(sequence);
      if (stream.settings.replay_frames == 2) {
        send(stream.replay.get(), {request[0], "", number, payload});
      } else {
        const std::string_view topic =
            sequence == kEnd ? std::string_view() : std::string_view(stream.settings.topic);
        send(stream.replay.get(), {request[0], "", topic, number, payload});
      }
    };
    std::uint64_t sequence = stream.next - stream.recent.size();
    for (const std::string& payload : stream.recent) {
      if (sequence >= from) answer(sequence, payload);
      ++sequence;
    }
    answer(kEnd, "");
  }

  void* context;
  const int wake;
  std::mt19937_64 random;  // thread's, as are the streams from its start on
  std::deque<Stream> streams;
  std::mutex mutex;
  std::vector<Batch> queued;  // guarded, as is the next
  bool stopping = false;
  std::thread thread;
};

EventPublisher::EventPublisher(std::uint64_t seed) : state_(std::make_unique<State>(seed)) {}
EventPublisher::~EventPublisher() = default;

net::Result<EventEndpoints> EventPublisher::add(const EventStreamSettings& settings) {
  DUALMESH_CHECK(!state_->thread.joinable(), "a stream is added after the start");
  auto events = bind(state_->context, ZMQ_PUB, kEventsHwm, settings.events);
  if (events.has_error()) return events.error();
  Stream stream{settings, std::move(*events), nullptr};
  EventEndpoints endpoints{bound_to(stream.events), {}};
  if (!settings.replay.empty()) {
    // Without a mark: a replay is longer than any, and what is dropped of it is gone.
    auto replay = bind(state_->context, ZMQ_ROUTER, 0, settings.replay);
    if (replay.has_error()) return replay.error();
    stream.replay = std::move(*replay);
    endpoints.replay = bound_to(stream.replay);
  }
  state_->streams.push_back(std::move(stream));
  return endpoints;
}

void EventPublisher::start() {
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

void EventPublisher::publish(std::size_t stream, std::vector<KvEvent> events, double unix_s) {
  {
    const std::lock_guard lock(state_->mutex);
    DUALMESH_CHECK(stream < state_->streams.size(), "stream {}", stream);
    state_->queued.push_back({stream, std::move(events), unix_s});
  }
  state_->signal();
}

void EventPublisher::stop() { state_->stop(); }

}  // namespace dualmesh::node
