#include "tests/net/wire/wire_fields.h"

#include <capnp/schema.h>
#include <kj/string.h>
#include <spdlog/fmt/fmt.h>

#include "net/mesh.capnp.h"

namespace dualmesh::wire_test {
namespace {

std::string name_of(capnp::Schema schema) {
  const std::string name = schema.getProto().getDisplayName().cStr();
  return name.substr(name.find(':') + 1);
}

class Walk {
 public:
  std::set<std::string> lines;

  void interface(capnp::InterfaceSchema schema) {
    if (!is_new(schema)) return;
    lines.insert(fmt::format("interface {} {:x}", name_of(schema), schema.getProto().getId()));
    for (auto method : schema.getMethods()) {
      lines.insert(fmt::format("method {}.{} {}", name_of(schema),
                               method.getProto().getName().cStr(), method.getOrdinal()));
      structure(method.getParamType());
      structure(method.getResultType());
    }
  }

  void structure(capnp::StructSchema schema) {
    if (!is_new(schema)) return;
    const auto node = schema.getProto().getStruct();
    if (node.getDiscriminantCount() > 0) {
      lines.insert(fmt::format("union {} {}", name_of(schema), node.getDiscriminantOffset()));
    }
    for (auto field : schema.getFields()) {
      const auto proto = field.getProto();
      const auto slot = proto.getSlot();
      lines.insert(fmt::format("field {}.{} at {} {} choice {} default {}", name_of(schema),
                               proto.getName().cStr(), slot.getOffset(), type(field.getType()),
                               proto.getDiscriminantValue(),
                               kj::str(slot.getDefaultValue()).cStr()));
    }
  }

 private:
  bool is_new(capnp::Schema schema) { return seen_.insert(schema.getProto().getId()).second; }

  std::string type(capnp::Type of) {
    if (of.isList()) return "list of " + type(of.asList().getElementType());
    if (of.isStruct()) {
      structure(of.asStruct());
      return name_of(of.asStruct());
    }
    if (of.isInterface()) {
      interface(of.asInterface());
      return name_of(of.asInterface());
    }
    if (!of.isEnum()) return kj::str(of.which()).cStr();
    for (auto enumerant : of.asEnum().getEnumerants()) {
      lines.insert(fmt::format("enumerant {}.{} {}", name_of(of.asEnum()),
                               enumerant.getProto().getName().cStr(), enumerant.getOrdinal()));
    }
    return name_of(of.asEnum());
  }

  std::set<std::uint64_t> seen_;
};

}  // namespace

std::set<std::string> wire_fields() {
  Walk walk;
  walk.interface(capnp::Schema::from<wire::Bootstrap>());
  walk.structure(capnp::Schema::from<wire::SavedState>());
  return std::move(walk.lines);
}

}  // namespace dualmesh::wire_test
