// DualMapNoRebalance: DualMap, but a request stays where it was placed. An ablation.
//
// Formula, order and what the mesh shares: as in dualmap.h. Source: DualMap, ICLR 2026,
// arXiv 2602.06502, and its authors' code.
#pragma once

#include "policies/placement/dualmap.h"

namespace dualmesh::policies {

class DualMapNoRebalance final : public DualMap {
 public:
  std::string_view name() const override { return "dualmap_no_rebalance"; }
  bool rebalances() const override { return false; }
};

}  // namespace dualmesh::policies
