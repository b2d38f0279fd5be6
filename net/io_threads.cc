#include "net/io_threads.h"

#include <pthread.h>
#include <spdlog/fmt/fmt.h>

#include <asio/post.hpp>
#include <future>
#include <thread>

#include "net/asio_loop.h"
#include "net/error.h"

namespace dualmesh::net {
namespace {

struct OneShot {
  OneShot(asio::io_context& context, std::function<void()> what)
      : timer(context), work(std::move(what)) {}
  asio::steady_timer timer;
  std::function<void()> work;
};

}  // namespace

void IoThread::Impl::run() {
  runner = std::this_thread::get_id();
  pthread_setname_np(pthread_self(), fmt::format("io-{}", index).c_str());
  context.run();
  runner = std::thread::id();
}

void IoThread::Impl::run_and_wait(std::function<void()> work) {
  if (context.stopped() || runner.load() == std::this_thread::get_id()) return work();
  auto done = std::make_shared<std::promise<void>>();
  auto finished = done->get_future();
  asio::post(context, [work = std::move(work), done] {
    work();
    done->set_value();
  });
  finished.wait();
}

void IoThread::Impl::at_turn_end(std::shared_ptr<TurnEndJob> job) {
  turn_end_jobs.push_back(std::move(job));
  if (turn_end_jobs.size() > 1) return;
  asio::post(context, [this] {
    running_jobs.swap(turn_end_jobs);  // what they ask for comes in the next turn
    for (const auto& one : running_jobs) one->turn_ended();
    running_jobs.clear();
  });
}

IoThread::IoThread(std::size_t index) : impl_(std::make_unique<Impl>(index)) {}
IoThread::~IoThread() = default;

std::size_t IoThread::index() const { return impl_->index; }

void IoThread::post(std::function<void()> work) { asio::post(impl_->context, std::move(work)); }

bool IoThread::is_current() const { return impl_->runner.load() == std::this_thread::get_id(); }

IoThread::Timer IoThread::after(std::chrono::nanoseconds delay, std::function<void()> work) {
  auto shot = std::make_shared<OneShot>(impl_->context, std::move(work));
  shot->timer.expires_after(delay);
  shot->timer.async_wait([weak = std::weak_ptr(shot)](const std::error_code& error) {
    auto held = weak.lock();
    if (error || !held) return;
    auto work = std::move(held->work);  // the work may drop the handle
    work();
  });
  return shot;
}

struct IoThreads::Running {
  std::vector<std::thread> threads;
};

IoThreads::IoThreads(std::size_t count) : running_(std::make_unique<Running>()) {
  DUALMESH_CHECK(count > 0, "count={}", count);
  for (std::size_t i = 0; i < count; ++i) threads_.push_back(std::make_unique<IoThread>(i));
  for (auto& thread : threads_) {
    running_->threads.emplace_back([impl = &thread->impl()] { impl->run(); });
  }
}

IoThreads::~IoThreads() { stop(); }

void IoThreads::stop() {
  for (auto& thread : threads_) thread->impl().context.stop();
  for (auto& thread : running_->threads) {
    if (thread.joinable()) thread.join();
  }
}

}  // namespace dualmesh::net
