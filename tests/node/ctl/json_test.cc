#include "node/ctl/json.h"

#include <capnp/message.h>
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "net/admin.capnp.h"

namespace dualmesh::node::ctl {
namespace {

TEST_CASE("names become snake_case") {
  CHECK(snake_case("p50") == "p50");
  CHECK(snake_case("meshAddress") == "mesh_address");
  CHECK(snake_case("heldBodyBytes") == "held_body_bytes");
}

TEST_CASE("every field of a struct appears, 64-bit numbers exactly") {
  capnp::MallocMessageBuilder message;
  auto member = message.initRoot<wire::MemberInfo>();
  member.setName("r1");
  member.setEpoch(18'446'744'073'709'551'615ULL);
  member.setIsSelf(true);
  member.setRttMs(0.25);
  const auto json = to_json(member.asReader());
  CHECK(json.at("name") == "r1");
  CHECK(json.at("epoch").dump() == "18446744073709551615");
  CHECK(json.at("is_self") == true);
  CHECK(json.at("rtt_ms") == 0.25);
  CHECK(json.at("status") == "");
  CHECK(json.size() == 15);
}

TEST_CASE("lists and nested structs keep their order, enums have names") {
  capnp::MallocMessageBuilder message;
  auto replication = message.initRoot<wire::Replication>();
  auto streams = replication.initStreams(2);
  streams[0].setKind(wire::StreamKind::REGISTRY);
  streams[1].setKind(wire::StreamKind::LOAD);
  streams[1].initOrigin().setNode(7);
  const auto json = to_json(replication.asReader());
  CHECK(json.at("streams").at(0).at("kind") == "registry");
  CHECK(json.at("streams").at(1).at("kind") == "load");
  CHECK(json.at("streams").at(1).at("origin").at("node") == 7);
  CHECK(json.at("peers").empty());
}

}  // namespace
}  // namespace dualmesh::node::ctl
