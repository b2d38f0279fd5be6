#include "net/mesh_acceptor.h"

#include <spdlog/spdlog.h>

namespace dualmesh::net {

MeshAcceptor::MeshAcceptor(kj::Function<wire::Bootstrap::Client()> make_bootstrap,
                           std::size_t max_connections)
    : make_bootstrap_(kj::mv(make_bootstrap)), max_connections_(max_connections), tasks_(*this) {}

void MeshAcceptor::accept(kj::Own<kj::AsyncIoStream> stream) {
  if (open_ >= max_connections_) {
    ++turned_away_;
    return;
  }
  auto connection = kj::heap<MeshConnection>(kj::mv(stream), make_bootstrap_());
  ++open_;
  auto ended = connection->on_disconnect();
  tasks_.add(ended.attach(kj::mv(connection), kj::defer([this]() { --open_; })));
}

void MeshAcceptor::taskFailed(kj::Exception&& exception) {
  spdlog::debug("mesh: an incoming connection ended: {}", exception.getDescription().cStr());
}

}  // namespace dualmesh::net
