#include "node/mesh/state_store.h"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <thread>

namespace dualmesh::node {
namespace {

struct Header {
  std::array<char, 8> magic;
  std::uint64_t version;
  std::uint64_t bytes;
  std::uint64_t checksum;  // XXH3 of what follows
};
constexpr std::array<char, 8> kMagic = {'d', 'u', 'a', 'l', 'm', 'e', 's', 'h'};
constexpr std::uint64_t kVersion = 1;
constexpr std::uint64_t kMaxBytes = 64 << 20;

std::string last_error() { return std::strerror(errno); }

bool write_all(int fd, const std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

void sync_directory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  ::fsync(fd);
  ::close(fd);
}

// Returns what went wrong, or nothing.
std::string replace_file(const std::string& path, const std::string& bytes) {
  const std::string beside = path + ".new";
  const int fd = ::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return "cannot create " + beside + ": " + last_error();
  const bool written = write_all(fd, bytes) && ::fsync(fd) == 0;
  const std::string why = written ? "" : "cannot write " + beside + ": " + last_error();
  ::close(fd);
  if (!written) return why;
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    return "cannot rename to " + path + ": " + last_error();
  }
  sync_directory(std::filesystem::path(path).parent_path().string());
  return "";
}

net::Error damaged(const std::string& path, const std::string& why) {
  return net::Error{fmt::format(
      "{} is damaged ({}): restore it, or move it away to start with the instances and settings of "
      "the configuration and of the other nodes",
      path, why)};
}

}  // namespace

// The thread that touches the disk.
struct StateStore::Writer {
  explicit Writer(std::string path) : path_(std::move(path)), thread_([this] { run(); }) {}
  ~Writer() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  void write(std::string bytes) {
    {
      std::lock_guard lock(mutex_);
      waiting_ = std::move(bytes);
    }
    changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || waiting_; });
      if (!waiting_) return;
      const std::string bytes = std::move(*waiting_);
      waiting_.reset();
      lock.unlock();
      if (const std::string why = replace_file(path_, bytes); !why.empty()) {
        spdlog::error("mesh: the state was not saved: {}", why);
      }
      lock.lock();
    }
  }

  std::string path_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<std::string> waiting_;
  bool stopping_ = false;
  std::thread thread_;
};

StateStore::StateStore(std::string path, int lock_fd)
    : path_(std::move(path)), lock_fd_(lock_fd), writer_(std::make_unique<Writer>(path_)) {}

StateStore::~StateStore() {
  writer_.reset();
  ::close(lock_fd_);
}

net::Result<std::unique_ptr<StateStore>> StateStore::open(const std::string& state_dir) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  if (error) {
    return net::Error{fmt::format("node.state_dir {}: {}", state_dir, error.message())};
  }
  const std::string lock = state_dir + "/lock";
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return net::Error{fmt::format("node.state_dir: {}: {}", lock, last_error())};
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return net::Error{fmt::format(
        "node.state_dir {} is in use by another node; each node needs a directory of its own",
        state_dir)};
  }
  return std::unique_ptr<StateStore>(new StateStore(state_dir + "/mesh-state", fd));
}

net::Result<net::SavedTables> StateStore::load() const {
  std::ifstream in(path_, std::ios::binary);
  if (!in) {
    if (std::filesystem::exists(path_)) return damaged(path_, "it cannot be opened");
    return net::SavedTables{};
  }
  Header header{};
  if (!in.read(reinterpret_cast<char*>(&header), sizeof(header)))
    return damaged(path_, "too short");
  if (header.magic != kMagic) return damaged(path_, "not a state file");
  if (header.version != kVersion) {
    return net::Error{
        fmt::format("{} has format {}, this program reads {}", path_, header.version, kVersion)};
  }
  if (header.bytes > kMaxBytes || header.bytes % sizeof(capnp::word) != 0) {
    return damaged(path_, "absurd length");
  }
  kj::Array<capnp::word> words = kj::heapArray<capnp::word>(header.bytes / sizeof(capnp::word));
  if (!in.read(reinterpret_cast<char*>(words.begin()),
               static_cast<std::streamsize>(header.bytes)) ||
      in.peek() != std::ifstream::traits_type::eof()) {
    return damaged(path_, "wrong length");
  }
  if (XXH3_64bits(words.begin(), header.bytes) != header.checksum) {
    return damaged(path_, "wrong checksum");
  }
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 8 * kMaxBytes;
  try {
    capnp::FlatArrayMessageReader reader(words, options);
    return net::read_saved(reader.getRoot<wire::SavedState>());
  } catch (const kj::Exception& exception) {
    return damaged(path_, exception.getDescription().cStr());
  }
}

void StateStore::save(const net::RegistryTable& registry, const net::SettingsTable& settings) {
  net::RegistryTable kept;
  registry.for_each([&](const net::FieldKey& key, const auto& field) {
    if (field.stamp.writer != crdt::NodeId{}) kept.join(key, field);
  });
  capnp::MallocMessageBuilder message;
  net::write_saved(kept, settings, message.initRoot<wire::SavedState>());
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(message);
  const std::size_t bytes = words.size() * sizeof(capnp::word);
  const Header header{kMagic, kVersion, bytes, XXH3_64bits(words.begin(), bytes)};
  std::string file(reinterpret_cast<const char*>(&header), sizeof(header));
  file.append(reinterpret_cast<const char*>(words.begin()), bytes);
  writer_->write(std::move(file));
}

}  // namespace dualmesh::node
