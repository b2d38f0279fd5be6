// MeshAcceptor: serves the Bootstrap interface on incoming streams, a bounded number at a time.
//
// Each connection gets a bootstrap object of its own from the factory; it and every capability
// handed out through it die with the connection.
//
// Threads: kj; one thread.
#pragma once

#include <kj/async-io.h>
#include <kj/function.h>

#include <cstdint>

#include "net/mesh.capnp.h"
#include "net/mesh_connection.h"

namespace dualmesh::net {

class MeshAcceptor final : private kj::TaskSet::ErrorHandler {
 public:
  MeshAcceptor(kj::Function<wire::Bootstrap::Client()> make_bootstrap, std::size_t max_connections);

  void accept(kj::Own<kj::AsyncIoStream> stream);  // beyond the bound: closed at once and counted
  std::size_t connections() const { return open_; }
  std::uint64_t turned_away() const { return turned_away_; }

 private:
  void taskFailed(kj::Exception&& exception) override;

  kj::Function<wire::Bootstrap::Client()> make_bootstrap_;
  std::size_t max_connections_;
  std::size_t open_ = 0;
  std::uint64_t turned_away_ = 0;
  kj::TaskSet tasks_;
};

}  // namespace dualmesh::net
