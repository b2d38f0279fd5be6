#include "node/identity/tenants.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "node/identity/tenant_reader.h"

namespace dualmesh::node {
namespace {

constexpr std::int64_t kLongestFileBytes = 16 * 1024 * 1024;

net::Result<std::string> read_file(const std::string& path) {
  using Text = net::Result<std::string>;
  struct ::stat known = {};
  if (::stat(path.c_str(), &known) != 0 || !S_ISREG(known.st_mode)) {
    return net::Error{path + ": cannot be read; must be a file"};
  }
  if (known.st_size > kLongestFileBytes) return net::Error{path + ": larger than 16 MiB"};
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file || file.bad()) return net::Error{path + ": cannot be read"};
  return Text(boost::system::in_place_value, std::move(text));
}

}  // namespace

net::Result<std::vector<TenantSettings>> read_tenants_text(std::string_view text,
                                                           const std::string& file_name) {
  const toml::parse_result parsed = toml::parse(text, file_name);
  if (!parsed) {
    return net::Error{fmt::format("{}:{}: not TOML", file_name,
                                  parsed.error().source().begin.line)};  // no word of its content
  }
  std::string problems;
  const TenantProblem problem = [&](const toml::node& at, std::string message) {
    problems += fmt::format("{}{}:{}: {}", problems.empty() ? "" : "\n", file_name,
                            at.source().begin.line, message);
  };
  std::vector<TenantSettings> tenants;
  for (const auto& [key, node] : parsed.table()) {
    if (key.str() == "tenant") {
      read_tenants(node, problem, tenants);
    } else {
      problem(node, fmt::format("{}: unknown; a file of tenants holds [[tenant]] only", key.str()));
    }
  }
  if (!problems.empty()) return net::Error{problems};
  return tenants;
}

net::Result<TenantDirectory> make_directory(const IdentitySettings& settings) {
  TenantDirectory directory;
  const auto configured = directory.add(settings.tenants, settings.namespace_secret);
  if (!configured) return configured.error();
  if (!settings.tenants_file.empty()) {
    const auto text = read_file(settings.tenants_file);
    if (!text) return text.error();
    const auto tenants = read_tenants_text(*text, settings.tenants_file);
    if (!tenants) return tenants.error();
    const auto added = directory.add(*tenants, settings.namespace_secret);
    if (!added) return net::Error{settings.tenants_file + ": " + added.error().message};
  }
  for (const std::string& key : settings.api_keys) directory.add_key(key);
  return directory;
}

Tenants::Tenants(IdentitySettings settings,
                 std::function<void(const std::vector<std::string>&)> changed)
    : settings_(std::move(settings)),
      changed_(std::move(changed)),
      directory_(std::make_shared<const TenantDirectory>()) {
  look();
}

Tenants::~Tenants() { stop(); }

void Tenants::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (watcher_.joinable()) watcher_.join();
}

void Tenants::watch() {
  if (settings_.tenants_file.empty()) return;
  watcher_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!stop_.wait_for(lock, settings_.check_interval, [this] { return stopping_; })) {
      lock.unlock();
      look();
      lock.lock();
    }
  });
}

std::shared_ptr<const TenantDirectory> Tenants::directory() const {
  const std::lock_guard lock(mutex_);
  return directory_;
}

Tenants::Stamp Tenants::stamp() const {
  struct ::stat file = {};
  if (settings_.tenants_file.empty() || ::stat(settings_.tenants_file.c_str(), &file) != 0) {
    return {};
  }
  return {file.st_dev, file.st_ino, static_cast<std::uint64_t>(file.st_size),
          static_cast<std::uint64_t>(file.st_mtim.tv_sec) * 1'000'000'000 +
              static_cast<std::uint64_t>(file.st_mtim.tv_nsec)};
}

bool Tenants::look() {
  const std::lock_guard looking(looking_);
  const Stamp now = stamp();  // before the reading: what changes meanwhile is read again
  const bool first = reloads_.load() + broken_files_.load() == 0;
  if (!first && now == seen_) return false;
  seen_ = now;
  auto directory = make_directory(settings_);
  if (!directory) {
    ++broken_files_;
    spdlog::error("tenants: {}; those known before stay", directory.error().message);
    return false;
  }
  ++reloads_;
  if (!first) spdlog::info("tenants: {} from now on", directory->tenants());
  put(std::move(*directory));
  return true;
}

void Tenants::put(TenantDirectory directory) {
  if (const auto before = this->directory()) directory.take_answers(*before);
  const auto shared = std::make_shared<const TenantDirectory>(std::move(directory));
  {
    const std::lock_guard lock(mutex_);
    directory_ = shared;
  }
  if (changed_) changed_(shared->weights());
}

}  // namespace dualmesh::node
