// StateStore: the registry and the settings of this node in its state_dir.
//
// One file, `mesh-state`, replaced as a whole: written beside, synced, renamed. A header with a
// checksum tells a damaged file from a good one, so that damage is an error at start and never a
// registry with holes. Fields of the configuration are not kept: they come from the configuration
// of the day. A lock file keeps two nodes out of one directory.
//
// Threads: open on any; save from one. The disk is written by a thread of the store's own, because
// a sync takes as long as it likes; of several waiting states only the newest is written. Source:
// the write-rename-sync order is the usual one; see rename(2), fsync(2).
#pragma once

#include <memory>
#include <string>

#include "net/error.h"
#include "net/mesh_codec.h"
#include "node/mesh/shared_state.h"

namespace dualmesh::node {

class StateStore {
 public:
  // Makes the directory if needed and takes its lock.
  static net::Result<std::unique_ptr<StateStore>> open(const std::string& state_dir);
  ~StateStore();  // writes what waits

  // Empty tables when there is no file yet.
  net::Result<net::SavedTables> load() const;
  void save(const net::RegistryTable& registry, const net::SettingsTable& settings);

 private:
  struct Writer;
  StateStore(std::string path, int lock_fd);
  std::string path_;
  int lock_fd_;
  std::unique_ptr<Writer> writer_;
};

}  // namespace dualmesh::node
