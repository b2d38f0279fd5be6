// What a node knows of the instances' caches, as the messages of net/admin.capnp.
//
// Threads: kj; the mesh thread's. A cut is made on another thread and comes back as a promise.
#pragma once

#include <kj/async.h>

#include <memory>
#include <string>
#include <vector>

#include "net/admin.capnp.h"

namespace dualmesh::node {

class KvAnswers;
class MeshNode;
struct KvStepTime;
struct StreamCut;

// Of the instance, or the INSTANCE/RANK, called so, or of all when it is empty.
void write_kv(MeshNode& node, const KvAnswers& answers, const std::string& instance,
              wire::Kv::Builder out);
kj::Promise<std::shared_ptr<const StreamCut>> kv_cut(KvAnswers& answers,
                                                     const std::string& instance,
                                                     std::uint32_t rank);
kj::Promise<std::vector<KvStepTime>> kv_step_times(KvAnswers& answers, const std::string& instance,
                                                   std::uint32_t rank);
void write_kv_steps(const std::vector<KvStepTime>& steps, wire::Admin::KvStepsResults::Builder out);
// Sums over 256 buckets of blocks and, of the buckets asked for (as Admin.rows has them), the
// blocks.
void write_kv_blocks(const StreamCut& cut, capnp::Data::Reader buckets,
                     wire::Admin::KvBlocksResults::Builder out);

}  // namespace dualmesh::node
