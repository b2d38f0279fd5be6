// Positions, which have no form that must be refused.
#include "net/mesh_codec.h"

namespace dualmesh::net {

void write_feed_positions(const FeedPositions& positions, wire::FeedPositions::Builder out) {
  out.initWriter().setNode(positions.writer.node.value);
  out.getWriter().setEpoch(positions.writer.epoch.value);
  out.setLoad(positions.load.value);
  out.setHealth(positions.health.value);
  out.setStatus(positions.status.value);
  out.setResidency(positions.residency.value);
}

FeedPositions read_feed_positions(wire::FeedPositions::Reader in) {
  return {{crdt::NodeId{in.getWriter().getNode()}, crdt::Epoch{in.getWriter().getEpoch()}},
          crdt::Version{in.getLoad()},
          crdt::Version{in.getHealth()},
          crdt::Version{in.getStatus()},
          crdt::Version{in.getResidency()}};
}

void write_position(const StreamPosition& position, wire::StreamPosition::Builder out) {
  out.setKind(static_cast<wire::StreamKind>(position.kind));
  out.initOrigin().setNode(position.origin.node.value);
  out.getOrigin().setEpoch(position.origin.epoch.value);
  out.setVersion(position.version.value);
  out.setCount(position.digest.count);
  out.setSum(position.digest.sum);
  out.setPartial(position.partial);
}

}  // namespace dualmesh::net
