// Fifo: first come, first served.
#pragma once

#include "policies/queue_order.h"

namespace dualmesh::policies {

class Fifo final : public QueueOrder {
 public:
  std::string_view name() const override { return "fifo"; }
};

}  // namespace dualmesh::policies
