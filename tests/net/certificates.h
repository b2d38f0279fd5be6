// Certificates for tests, made by deploy/make-certificates in a folder of their own.
//
// Threads: any.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "net/certificate_files.h"

namespace dualmesh {

class Certificates {
 public:
  // `names`: nodes, as the script takes them; an administrator's is made beside them.
  explicit Certificates(const std::string& names) {
    static int made = 0;
    directory_ =
        (std::filesystem::temp_directory_path() /
         ("dualmesh-certificates-" + std::to_string(::getpid()) + "-" + std::to_string(++made)))
            .string();
    make(names);
  }
  ~Certificates() { std::filesystem::remove_all(directory_); }
  Certificates(const Certificates&) = delete;

  // Again, by the same CA; renews what exists. `options` as of the script.
  void make(const std::string& names, const std::string& options = "") {
    const std::string command = std::string(DUALMESH_SOURCE "/deploy/make-certificates ") +
                                options + " " + directory_ + " " + names + " >/dev/null";
    if (std::system(command.c_str()) != 0) throw std::runtime_error(command);
  }
  std::string path(const std::string& file) const { return directory_ + "/" + file; }
  net::CertificateFiles of(const std::string& name) const {
    return {path("ca.crt"), path(name + ".crt"), path(name + ".key")};
  }

 private:
  std::string directory_;
};

}  // namespace dualmesh
