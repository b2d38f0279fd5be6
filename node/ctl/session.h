// Session: what every command of dualmeshctl needs: the node it talks to, how to answer, and the
// other nodes of the mesh on demand.
//
// Exit status of every command: 0 done or equal, 1 the answer is "no" (differs, not converged in
// time), 2 it could not be asked or was asked wrongly. Threads: one.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "net/error.h"
#include "node/ctl/admin_client.h"
#include "node/ctl/convergence.h"

namespace dualmesh::node::ctl {

inline constexpr int kExitDone = 0;
inline constexpr int kExitNo = 1;
inline constexpr int kExitFailed = 2;

struct LiveNode {
  std::string name;
  std::uint64_t node = 0;
  std::uint64_t epoch = 0;
  std::string mesh_address;
};

struct DeadNode {  // not forgotten yet
  std::string name;
  double since_ms = 0.0;  // as the node that was asked knows it
};
// One line for people; empty: there are none.
std::string dead_text(const std::vector<DeadNode>& dead);
nlohmann::ordered_json dead_json(const std::vector<DeadNode>& dead);

class Session {
 public:
  // `certificate` null: without TLS.
  Session(std::string address, bool json,
          std::shared_ptr<const net::MeshCertificate> certificate = nullptr)
      : address_(std::move(address)), json_(json) {
    io_.certificate = std::move(certificate);
    io_.unproven = address_;
  }

  bool json() const { return json_; }
  const std::string& address() const { return address_; }
  AdminClient& node() { return client(address_); }
  AdminClient& client(const std::string& address);
  // Another node's word from now on.
  void turn_to(const std::string& address) { address_ = address; }
  void forget(const std::string& address) { clients_.erase(address); }

  // Alive and suspect members as the node we talk to sees them, itself included, by name.
  net::Result<std::vector<LiveNode>> live_nodes(std::vector<DeadNode>* dead = nullptr);
  // Asks all of them at once where they are in every stream.
  struct MeshReport {
    std::vector<NodeReport> nodes;
    std::vector<DeadNode> dead;
    // Kept because the tables of lag are drawn from them; empty where a node was not reached.
    std::vector<std::shared_ptr<capnp::Response<wire::Admin::ReplicationResults>>> answers;
  };
  net::Result<MeshReport> ask_all();

 private:
  std::string address_;
  bool json_;
  AdminIo io_;
  std::map<std::string, std::unique_ptr<AdminClient>> clients_;
};

// Prints the error to standard error; the exit status.
int failed(const net::Error& error);

}  // namespace dualmesh::node::ctl
