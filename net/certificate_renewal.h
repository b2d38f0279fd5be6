// CertificateRenewal: a certificate's files, looked at while the program runs.
//
// New ones are taken as a whole or not at all: what cannot be used is refused with the reason, once
// and the old one stays; it is tried again at each look, for it may only be too early, or
// descriptors were short. The end of the one in use is warned of from two weeks before.
//
// Threads: one at a time. Unix time is a parameter.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "net/certificate_files.h"
#include "net/error.h"

namespace dualmesh::net {

class CertificateRenewal {
 public:
  // Takes into use what the files hold; until when it is valid, in Unix time.
  using Load = std::function<Result<std::int64_t>(std::int64_t now_s)>;
  // For the log: whose it is ("mesh: r1"), and what its end means ("other nodes refuse ...").
  CertificateRenewal(std::string whose, std::string once_expired, CertificateFiles files,
                     Load load);

  Result<void> begin(std::int64_t now_s);
  // Looks at the files; true when a new certificate has come into use.
  bool check(std::int64_t now_s);

  std::int64_t not_after_s() const { return not_after_s_; }
  // Why the files cannot be used, as of the last look; empty: they are in use.
  const std::string& why_not() const { return why_not_; }

 private:
  std::string look() const;  // changes when a file does
  void warn_of_expiry(std::int64_t now_s);

  const std::string whose_;
  const std::string once_expired_;
  const CertificateFiles files_;
  const Load load_;
  std::string looked_;
  std::string why_not_;
  std::int64_t not_after_s_ = 0;
  std::int64_t next_warning_s_ = 0;
};

}  // namespace dualmesh::net
