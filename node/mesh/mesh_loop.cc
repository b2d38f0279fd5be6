#include "node/mesh/mesh_loop.h"

#include <kj/async-io.h>
#include <kj/async-unix.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <time.h>

#include <chrono>
#include <random>

#include "net/destination.h"
#include "net/error.h"
#include "net/mesh_tls_stream.h"
#include "node/mesh/mesh_metrics.h"
#include "node/mesh/mesh_node.h"
#include "node/mesh/repeat.h"

namespace dualmesh::node {
namespace {

constexpr auto kSaveDelay = std::chrono::seconds(1);

// What kj would print on stderr belongs in our log.
class KjLog final : public kj::ExceptionCallback {
 public:
  void logMessage(kj::LogSeverity severity, const char* file, int line, int,
                  kj::String&& text) override {
    const auto level = severity >= kj::LogSeverity::ERROR     ? spdlog::level::err
                       : severity == kj::LogSeverity::WARNING ? spdlog::level::warn
                                                              : spdlog::level::info;
    spdlog::log(level, "kj: {}:{}: {}", file, line, text.cStr());
  }
};

// A peer that vanished without a word must not hold a connection for hours: after 10 s of silence
// it is probed, and given up after 25 s, as when bytes under way are not confirmed for so long
// (Linux lets the user timeout overrule the count of probes, so the two are made to agree).
// Outgoing links are pinged and mostly end sooner; incoming ones have only this.
void tend_socket(kj::AsyncIoStream& stream) {
  const auto set = [&](int level, int option, int value) {
    stream.setsockopt(level, option, &value, sizeof(value));
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 10);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 25'000);
}

class SocketDialer final : public net::Dialer {
 public:
  SocketDialer(kj::Network& network, const MeshSecurity& security)
      : network_(network), security_(security) {}
  void count_in(net::Refusals& refusals) { refusals_ = &refusals; }

  kj::Promise<kj::Own<kj::AsyncIoStream>> dial(const std::string& address) override {
    return network_.parseAddress(address.c_str())
        .then([](kj::Own<kj::NetworkAddress>&& parsed) {
          auto connected = parsed->connect();
          return connected.attach(kj::mv(parsed));
        })
        .then([this, address](
                  kj::Own<kj::AsyncIoStream>&& stream) -> kj::Promise<kj::Own<kj::AsyncIoStream>> {
          tend_socket(*stream);
          if (!security_.certificate()) return kj::mv(stream);
          return secure(kj::mv(stream), address);
        });
  }

 private:
  // The chain is verified here, the name when the welcome says which node it is.
  kj::Promise<kj::Own<kj::AsyncIoStream>> secure(kj::Own<kj::AsyncIoStream> stream,
                                                 std::string address) {
    auto tls = kj::heap<net::TlsStream>(kj::mv(stream), security_.certificate(),
                                        net::TlsStream::Side::dialling);
    net::TlsStream& secured = *tls;
    return kj::evalNow([&]() { return secured.handshake(); })
        .then([tls = kj::mv(tls)]() mutable { return kj::Own<kj::AsyncIoStream>(kj::mv(tls)); },
              [this, &secured, address](kj::Exception&& exception) -> kj::Own<kj::AsyncIoStream> {
                if (refusals_ != nullptr) {
                  refusals_->count(secured.refusal(), address, exception.getDescription().cStr());
                }
                kj::throwFatalException(kj::mv(exception));
              });
  }

  kj::Network& network_;
  const MeshSecurity& security_;
  net::Refusals* refusals_ = nullptr;  // the node's, which is made later
};

// "10.0.0.12:49152", for people.
std::string peer_address(kj::AsyncIoStream& stream) {
  sockaddr_storage address{};
  kj::uint length = sizeof(address);
  stream.getpeername(reinterpret_cast<sockaddr*>(&address), &length);
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (::getnameinfo(reinterpret_cast<sockaddr*>(&address), length, host, sizeof(host), port,
                    sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "a peer";
  }
  return fmt::format("{}:{}", host, port);
}

std::int64_t wall_s() { return static_cast<std::int64_t>(::time(nullptr)); }

std::uint64_t wall_ms() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                        std::chrono::system_clock::now().time_since_epoch())
                                        .count());
}

std::uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// The parts of a running loop, in the order of their dependence.
class Running final : private kj::TaskSet::ErrorHandler {
 public:
  Running(MeshLoop& loop, kj::AsyncIoContext& io, kj::Own<kj::ConnectionReceiver> listener)
      : loop_(loop),
        timer_(io.provider->getTimer()),
        dialer_(io.provider->getNetwork(), *loop.security),
        listener_(kj::mv(listener)),
        observer_(io.unixEventPort, loop.mailbox.fd(), kj::UnixEventPort::FdObserver::OBSERVE_READ),
        node_(loop.config,
              MeshEnvironment{timer_, dialer_, wall_ms, monotonic_ns, std::random_device{}(),
                              loop.kv},
              loop.host, loop.admin),
        tasks_(*this) {
    auto paf = kj::newPromiseAndFulfiller<void>();
    stopped_ = kj::mv(paf.fulfiller);
    end_ = kj::mv(paf.promise);
    dialer_.count_in(node_.refusals());
    watch_certificate();
    node_.restore(loop.saved.registry, loop.saved.settings);
    // Changes that come while the node waits before it takes them ring no more.
    node_.on_taking_changes([this](bool to_be_said) {
      to_be_said ? loop_.mailbox.wake_done() : loop_.mailbox.look_again();
    });
    if (loop.store) node_.on_saveable_change([this]() { save_soon(); });
    // Accepting may fail for want of file descriptors; going on is better than going deaf.
    tasks_.add(repeat(timer_, "accepting", [this]() { return accept(); }));
    tasks_.add(repeat(timer_, "the mailbox", [this]() { return watch_mailbox(); }));
    tasks_.add(repeat(timer_, "the metrics", [this]() { return refresh_metrics(); }));
    node_.start();
  }

  void run(kj::WaitScope& scope) {
    end_.wait(scope);
    if (save_waiting_) loop_.store->save(node_.state().registry(), node_.state().settings());
  }

 private:
  kj::Promise<void> accept() {
    return listener_->accept().then([this](kj::Own<kj::AsyncIoStream>&& stream) {
      std::string from;
      const auto gone = kj::runCatchingExceptions([&]() {
        tend_socket(*stream);
        from = peer_address(*stream);
      });
      if (gone != nullptr) return;  // reset already: not worth a word, nor the others' waiting
      node_.accept(kj::mv(stream), std::move(from), loop_.security->certificate());
    });
  }

  kj::Promise<void> watch_mailbox() {
    for (auto& message : loop_.mailbox.take()) {
      KJ_IF_MAYBE (failure, kj::runCatchingExceptions([&]() { message(node_); })) {
        spdlog::error("mesh: a message: {}", failure->getDescription().cStr());
      }
    }
    if (loop_.stopping) stopped_->fulfill();
    if (loop_.mailbox.woken()) node_.local_changes();
    return observer_.whenBecomesReadable();
  }

  kj::Promise<void> refresh_metrics() {
    std::string text = node_.view() ? mesh_metrics(node_) : "";
    {
      std::lock_guard lock(loop_.metrics_mutex);
      loop_.metrics_text = std::move(text);
    }
    return timer_.afterDelay(1 * kj::SECONDS);
  }

  void watch_certificate() {
    if (!loop_.security->certificate()) return;
    node_.certificate_in_use(loop_.security->certificate()->not_after_s());
    tasks_.add(repeat(timer_, "the certificate", [this]() {
      return timer_.afterDelay(loop_.config.tls_check_interval_ms * kj::MILLISECONDS)
          .then([this]() {
            if (loop_.security->check(wall_s())) {
              node_.certificate_in_use(loop_.security->certificate()->not_after_s());
            }
          });
    }));
  }

  void save_soon() {
    if (save_waiting_) return;
    save_waiting_ = true;
    tasks_.add(timer_.afterDelay(std::chrono::milliseconds(kSaveDelay).count() * kj::MILLISECONDS)
                   .then([this]() {
                     save_waiting_ = false;
                     loop_.store->save(node_.state().registry(), node_.state().settings());
                   }));
  }

  void taskFailed(kj::Exception&& exception) override {
    spdlog::error("mesh: saving: {}", exception.getDescription().cStr());
  }

  MeshLoop& loop_;
  kj::Timer& timer_;
  SocketDialer dialer_;
  kj::Own<kj::ConnectionReceiver> listener_;
  kj::UnixEventPort::FdObserver observer_;
  MeshNode node_;
  bool save_waiting_ = false;
  kj::Own<kj::PromiseFulfiller<void>> stopped_;
  kj::Promise<void> end_ = nullptr;
  kj::TaskSet tasks_;
};

}  // namespace

net::Result<void> check_listen(const MeshConfig& config) {
  net::HostPort listen;
  if (!net::split_destination(config.listen, listen, net::PortZero::allowed)) {
    return net::Error{fmt::format("mesh.listen must be HOST:PORT, not '{}'", config.listen)};
  }
  if (!net::is_loopback(listen.host) && !config.tls.any() && !config.insecure) {
    return net::Error{fmt::format(
        "mesh.listen {} can be reached from other machines, and there is no certificate: set "
        "mesh.tls.ca, mesh.tls.certificate and mesh.tls.key; or mesh.insecure = true if everyone "
        "on that network may administer this mesh; or listen on a loopback address",
        config.listen)};
  }
  if (net::is_everywhere(listen.host) && config.advertise.empty()) {
    return net::Error{fmt::format(
        "mesh.listen {} is every address of this machine: set mesh.advertise to the HOST:PORT that "
        "other nodes dial",
        config.listen)};
  }
  return {};
}

void MeshLoop::run(const std::function<void(net::Result<std::uint16_t>)>& started) {
  KjLog log;
  auto io = kj::setupAsyncIo();
  kj::Own<kj::ConnectionReceiver> listener;
  try {
    listener =
        io.provider->getNetwork().parseAddress(config.listen.c_str()).wait(io.waitScope)->listen();
  } catch (const kj::Exception& exception) {
    return started(net::Error{
        fmt::format("mesh.listen {}: {}", config.listen, exception.getDescription().cStr())});
  }
  const auto port = static_cast<std::uint16_t>(listener->getPort());
  if (config.advertise.empty()) {
    net::HostPort listen;
    DUALMESH_CHECK(net::split_destination(config.listen, listen, net::PortZero::allowed),
                   "mesh.listen {}", config.listen);
    config.advertise = net::join_destination({listen.host, port});
  }
  try {
    Running running(*this, io, kj::mv(listener));
    started(port);
    running.run(io.waitScope);
  } catch (const kj::Exception& exception) {
    net::check_failed("the mesh loop ends only when told", __FILE__, __LINE__,
                      kj::str(exception).cStr());
  }
}

}  // namespace dualmesh::node
