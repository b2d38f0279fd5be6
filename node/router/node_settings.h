// What a Config means for the parts of a node that take settings of their own.
//
// Threads: pure functions.
#pragma once

#include "node/router/config.h"
#include "node/router/instance_health.h"
#include "node/router/instance_monitor.h"
#include "node/router/request_flow.h"

namespace dualmesh::node {

FlowSettings flow_settings(const Config& config);
InstanceHealth::Settings health_settings(const Config& config);
InstanceMonitor::Settings monitor_settings(const Config& config);

}  // namespace dualmesh::node
