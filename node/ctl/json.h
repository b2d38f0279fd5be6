// Cap'n Proto structs as JSON for scripts: names in snake_case, 64-bit numbers as numbers, enums by
// name.
//
// Own code rather than capnp/compat/json.h because that codec writes 64-bit integers as strings.
// Threads: values.
#pragma once

#include <capnp/dynamic.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace dualmesh::node::ctl {

nlohmann::ordered_json to_json(const capnp::DynamicValue::Reader& value);
std::string snake_case(std::string_view camel_case);
void print_json(const nlohmann::ordered_json& json);  // to standard output, indented

}  // namespace dualmesh::node::ctl
