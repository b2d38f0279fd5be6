// CertificateFiles: where a certificate lies, as configuration says it. For clients of the HTTP
// listener there is no CA.
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
