#include "net/descriptors.h"

#include <sys/resource.h>

namespace dualmesh::net {

void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);  // refused, the old one stays
}

}  // namespace dualmesh::net
