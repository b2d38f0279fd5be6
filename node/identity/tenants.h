// Tenants: the directory in use, from the configuration and from a file that may change while the
// node runs (`http.tenants_file`).
//
// A thread of its own looks at the file every so often. A changed file replaces all that the old
// one said, at once and for every request whose head arrives afterwards; a broken one changes
// nothing, and the log and the metrics say so. Requests under way keep the tenant they began with.
//
// Invariant: where any key, tenant or file is configured, a key is needed, whatever happens to the
// file. Threads: any; the watcher is its own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "node/identity/tenant_directory.h"

namespace dualmesh::node {

struct IdentitySettings {
  std::vector<std::string> api_keys;  // in clear, without a tenant
  std::vector<TenantSettings> tenants;
  std::string tenants_file;
  std::string namespace_secret;
  std::chrono::milliseconds check_interval{2'000};

  bool needs_key() const { return !api_keys.empty() || !tenants.empty() || !tenants_file.empty(); }
};

// The tenants of a file's text, or everything that is wrong with it, one "FILE:LINE: ..." per line.
net::Result<std::vector<TenantSettings>> read_tenants_text(std::string_view text,
                                                           const std::string& file_name);
// The whole, with the file's, or what is wrong.
net::Result<TenantDirectory> make_directory(const IdentitySettings& settings);

class Tenants {
 public:
  // Takes what make_directory gives; where that is an error, nobody's key is known until the file
  // is mended. `changed(weights)`: NAME=WEIGHT of the tenants, on the watcher's thread, after every
  // change.
  explicit Tenants(IdentitySettings settings,
                   std::function<void(const std::vector<std::string>&)> changed = {});
  ~Tenants();
  void watch();  // begins to look at the file, if there is one
  void stop();   // ends that; idempotent

  bool needs_key() const { return settings_.needs_key(); }
  std::shared_ptr<const TenantDirectory> directory() const;
  bool look();  // at the file, now; true when it was taken anew

  std::uint64_t reloads() const { return reloads_.load(); }
  std::uint64_t broken_files() const { return broken_files_.load(); }

 private:
  struct Stamp {  // of the file as last read; all zero: there was none
    std::uint64_t device = 0, inode = 0, size = 0, changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  Stamp stamp() const;
  void put(TenantDirectory directory);

  const IdentitySettings settings_;
  const std::function<void(const std::vector<std::string>&)> changed_;
  mutable std::mutex mutex_;  // guards directory_ and stopping_
  std::shared_ptr<const TenantDirectory> directory_;
  bool stopping_ = false;
  std::condition_variable stop_;
  std::mutex looking_;  // one look at a time
  Stamp seen_;
  std::atomic<std::uint64_t> reloads_{0};
  std::atomic<std::uint64_t> broken_files_{0};
  std::thread watcher_;
};

}  // namespace dualmesh::node
