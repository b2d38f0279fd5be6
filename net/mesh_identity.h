// PeerIdentity: who is at the other end of a TLS stream, as its certificate says.
//
// The certificate was verified against the mesh's CA before anybody sees this. A certificate that
// may serve (extended key usage serverAuth, or no such extension) can be a node's; one for clients
// alone is an operator's and can never pass for a node. Names are compared byte for byte: no
// wildcards, no subject's common name.
//
// Threads: plain values.
#pragma once

#include <kj/async-io.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace dualmesh::net {

struct PeerIdentity {
  std::vector<std::string> names;  // DNS names of the subject alternative name, in its order
  bool may_serve = false;

  bool is_node(std::string_view name) const {
    return may_serve && std::find(names.begin(), names.end(), name) != names.end();
  }
  std::string describe() const {
    std::string text;
    for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
    if (text.empty()) text = "nobody (no DNS name)";
    return may_serve ? text : text + " (a client's, not a node's)";
  }
};

// A stream that knows whom it speaks to.
class IdentifiedStream : public kj::AsyncIoStream {
 public:
  virtual const PeerIdentity& identity() const = 0;
};

// Null on a stream without TLS.
inline const PeerIdentity* identity_of(const kj::AsyncIoStream& stream) {
  const auto* identified = dynamic_cast<const IdentifiedStream*>(&stream);
  return identified == nullptr ? nullptr : &identified->identity();
}

}  // namespace dualmesh::net
