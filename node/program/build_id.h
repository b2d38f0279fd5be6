// What `--version` says and peers see: the version, with the commit when built from a checkout.
#pragma once

namespace dualmesh::node {

extern const char* const kBuildId;

}  // namespace dualmesh::node
