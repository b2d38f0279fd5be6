#include "node/router/discovery.h"

#include <spdlog/fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "net/http_client.h"

namespace dualmesh::node {

std::string Discovery::Changes::note(std::vector<std::string>& addresses, const std::string& why) {
  std::ranges::sort(addresses);
  if (!first_ && addresses == last_) return {};
  first_ = false;
  last_ = addresses;
  if (!addresses.empty()) return fmt::format("is {}", fmt::join(addresses, ", "));
  return fmt::format("has no address ({}); nobody is removed for it",
                     why.empty() ? "empty answer" : why);
}

Discovery::Discovery(net::IoThread& thread, std::string what, net::HostPort name,
                     std::chrono::seconds interval, Found found)
    : thread_(thread),
      what_(std::move(what)),
      name_(std::move(name)),
      interval_(interval),
      found_(std::move(found)) {}

void Discovery::start() {
  thread_.post([this] { look_up(); });
}

void Discovery::look_up() {
  net::resolve(thread_, name_.host, name_.port,
               [this](std::vector<std::string> addresses, std::string why) {
                 const std::string news = changes_.note(addresses, why);
                 if (!news.empty()) spdlog::info("{} {} {}", what_, name_.host, news);
                 if (!addresses.empty()) found_(std::move(addresses));
                 timer_ = thread_.after(interval_, [this] { look_up(); });
               });
}

}  // namespace dualmesh::node
