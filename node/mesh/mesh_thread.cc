#include "node/mesh/mesh_thread.h"

#include <pthread.h>
#include <signal.h>

#include <ctime>
#include <future>
#include <thread>

#include "node/mesh/mesh_loop.h"
#include "node/mesh/mesh_metrics.h"
#include "node/mesh/mesh_node.h"

namespace dualmesh::node {
namespace {

// Signals are for the main thread; a fault must still end the process where it happens.
void block_signals() {
  sigset_t set;
  sigfillset(&set);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&set, fault);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

}  // namespace

struct MeshThread::State {
  MeshLoop loop;
  std::uint16_t port = 0;
  std::thread thread;
};

net::Result<std::unique_ptr<MeshThread>> MeshThread::start(MeshConfig config, MeshHost& host,
                                                           AdminHost& admin, KvPort* kv) {
  if (auto good = check_listen(config); !good) return good.error();
  auto security = MeshSecurity::open(config, std::time(nullptr));
  if (!security) return security.error();
  std::unique_ptr<StateStore> store;
  net::SavedTables saved;
  if (!config.state_dir.empty()) {
    auto opened = StateStore::open(config.state_dir);
    if (!opened) return opened.error();
    store = std::move(*opened);
    auto loaded = store->load();
    if (!loaded) return loaded.error();
    saved = std::move(*loaded);
  }
  auto state =
      std::unique_ptr<State>(new State{{std::move(config), host, admin, kv, std::move(*security),
                                        std::move(store), std::move(saved)}});
  std::promise<net::Result<std::uint16_t>> started;
  auto outcome = started.get_future();
  State* raw = state.get();  // kj's destructors may throw, so no kj object is ever captured here
  state->thread = std::thread([raw, &started] {
    block_signals();
    pthread_setname_np(pthread_self(), "mesh");
    raw->loop.run([&started](net::Result<std::uint16_t> port) { started.set_value(port); });
  });
  auto port = outcome.get();
  auto mesh = std::unique_ptr<MeshThread>(new MeshThread(std::move(state)));
  if (!port) return port.error();
  mesh->state_->port = *port;
  return mesh;
}

MeshThread::MeshThread(std::unique_ptr<State> state) : state_(std::move(state)) {}

MeshThread::~MeshThread() {
  state_->loop.stopping = true;
  state_->loop.mailbox.post([](MeshNode&) {});
  state_->thread.join();
}

void MeshThread::wake() { state_->loop.mailbox.wake(); }

void MeshThread::kv_waiting() {
  MeshLoop& loop = state_->loop;
  if (loop.kv_waiting.exchange(true, std::memory_order_acq_rel)) return;
  loop.mailbox.post([&loop](MeshNode& node) {
    loop.kv_waiting.store(false, std::memory_order_release);  // what comes later posts again
    node.kv_waiting();
  });
}

void MeshThread::peers_found(std::vector<std::string> addresses) {
  state_->loop.mailbox.post([addresses = std::move(addresses)](MeshNode& node) mutable {
    node.peers_found(std::move(addresses));
  });
}

void MeshThread::instances_found(std::vector<SeedInstance> instances) {
  state_->loop.mailbox.post(
      [instances = std::move(instances)](MeshNode& node) { node.instances_found(instances); });
}

void MeshThread::models_found(std::string instance, std::vector<std::string> models) {
  state_->loop.mailbox.post([instance = std::move(instance), models = std::move(models)](
                                MeshNode& node) { node.models_found(instance, models); });
}

void MeshThread::leave(std::uint32_t timeout_ms, std::function<void()> done) {
  state_->loop.mailbox.post([timeout_ms, done = std::move(done)](MeshNode& node) mutable {
    node.leave(timeout_ms, std::move(done));
  });
}

void MeshThread::set_draining() {
  state_->loop.mailbox.post([](MeshNode& node) { node.set_draining(); });
}

void MeshThread::set_configured_weights(policies::ClientWeights weights) {
  state_->loop.mailbox.post([weights = std::move(weights)](MeshNode& node) mutable {
    node.set_configured_weights(std::move(weights));
  });
}

std::string MeshThread::metrics() const {
  std::lock_guard lock(state_->loop.metrics_mutex);
  return state_->loop.metrics_text;
}

std::string MeshThread::dump_state() const {
  auto dump = std::make_shared<std::promise<std::string>>();
  auto text = dump->get_future();
  state_->loop.mailbox.post([dump](MeshNode& node) { dump->set_value(dump_mesh(node)); });
  if (text.wait_for(std::chrono::seconds(1)) != std::future_status::ready) {
    return "the mesh thread did not answer within 1 s\n";
  }
  return text.get();
}

std::uint16_t MeshThread::port() const { return state_->port; }

}  // namespace dualmesh::node
