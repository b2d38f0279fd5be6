// CertificateFiles: where a certificate of the mesh lies, as configuration says it.
//
// Threads: a plain value.
#pragma once

#include <string>

namespace dualmesh::net {

struct CertificateFiles {  // PEM
  std::string ca;
  std::string certificate;  // with intermediate certificates after it, if there are any
  std::string key;

  bool any() const { return !ca.empty() || !certificate.empty() || !key.empty(); }
  bool all() const { return !ca.empty() && !certificate.empty() && !key.empty(); }
};

}  // namespace dualmesh::net
