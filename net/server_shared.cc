#include "net/server_shared.h"

#include <utility>

namespace dualmesh::net {

HeldRequest::HeldRequest(HeldRequest&& other) noexcept
    : shared_(std::move(other.shared_)), bytes_(std::exchange(other.bytes_, 0)) {}

HeldRequest& HeldRequest::operator=(HeldRequest&& other) noexcept {
  std::swap(shared_, other.shared_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

bool HeldRequest::acquire(std::shared_ptr<ServerShared> shared) {
  if (shared->held_requests.fetch_add(1) >= shared->limits.held_requests) {
    shared->held_requests.fetch_sub(1);
    return false;
  }
  shared_ = std::move(shared);
  return true;
}

bool HeldRequest::add_bytes(std::uint64_t count) {
  if (shared_->held_body_bytes.fetch_add(count) + count > shared_->limits.held_body_bytes) {
    shared_->held_body_bytes.fetch_sub(count);
    return false;
  }
  bytes_ += count;
  return true;
}

void HeldRequest::release_bytes() {
  if (shared_) shared_->held_body_bytes.fetch_sub(std::exchange(bytes_, 0));
}

void HeldRequest::release() {
  if (!shared_) return;
  release_bytes();
  shared_->held_requests.fetch_sub(1);
  shared_.reset();
}

}  // namespace dualmesh::net
