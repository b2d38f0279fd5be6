#include "node/ctl/json.h"

#include <cctype>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace dualmesh::node::ctl {
namespace {

nlohmann::ordered_json struct_json(const capnp::DynamicStruct::Reader& reader) {
  auto object = nlohmann::ordered_json::object();
  for (auto field : reader.getSchema().getNonUnionFields()) {
    object[snake_case(field.getProto().getName().cStr())] = to_json(reader.get(field));
  }
  return object;
}

nlohmann::ordered_json list_json(const capnp::DynamicList::Reader& list) {
  auto array = nlohmann::ordered_json::array();
  for (auto element : list) array.push_back(to_json(element));
  return array;
}

std::string enum_name(const capnp::DynamicEnum& value) {
  KJ_IF_MAYBE (enumerant, value.getEnumerant()) {
    return snake_case(enumerant->getProto().getName().cStr());
  }
  return std::to_string(value.getRaw());  // a newer node's
}

}  // namespace

nlohmann::ordered_json to_json(const capnp::DynamicValue::Reader& value) {
  switch (value.getType()) {
    case capnp::DynamicValue::BOOL:
      return value.as<bool>();
    case capnp::DynamicValue::INT:
      return value.as<std::int64_t>();
    case capnp::DynamicValue::UINT:
      return value.as<std::uint64_t>();
    case capnp::DynamicValue::FLOAT:
      return value.as<double>();
    case capnp::DynamicValue::TEXT:
      return std::string(value.as<capnp::Text>().cStr());
    case capnp::DynamicValue::LIST:
      return list_json(value.as<capnp::DynamicList>());
    case capnp::DynamicValue::ENUM:
      return enum_name(value.as<capnp::DynamicEnum>());
    case capnp::DynamicValue::STRUCT:
      return struct_json(value.as<capnp::DynamicStruct>());
    default:
      return nullptr;
  }
}

std::string snake_case(std::string_view camel_case) {
  std::string result;
  for (char c : camel_case) {
    if (std::isupper(static_cast<unsigned char>(c)) != 0) {
      result.push_back('_');
      result.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    } else {
      result.push_back(c);
    }
  }
  return result;
}

void print_json(const nlohmann::ordered_json& json) {
  using Handler = nlohmann::ordered_json::error_handler_t;
  std::puts(json.dump(2, ' ', false, Handler::replace).c_str());
}

}  // namespace dualmesh::node::ctl
