// Names to addresses: resolve() of http_client.h and destination.h.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <asio/ip/tcp.hpp>
#include <charconv>

#include "net/asio_loop.h"
#include "net/destination.h"
#include "net/http_client.h"

namespace dualmesh::net {

bool split_destination(std::string_view text, HostPort& out) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of("[]:") != std::string_view::npos) {
    return false;
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (error != std::errc() || end != port.data() + port.size() || out.port == 0) return false;
  out.host = host;
  return !out.host.empty();
}

void resolve(IoThread& thread, const std::string& host, std::uint16_t port,
             std::function<void(std::vector<std::string> addresses, std::string why)> done) {
  using asio::ip::tcp;
  auto resolver = std::make_shared<tcp::resolver>(thread.impl().context);
  resolver->async_resolve(
      host, std::to_string(port), tcp::resolver::numeric_service,
      [resolver, host, done = std::move(done)](const std::error_code& error,
                                               const tcp::resolver::results_type& results) {
        std::vector<std::string> addresses;
        for (const auto& entry : results) {
          const auto& address = entry.endpoint().address();
          addresses.push_back(fmt::format(fmt::runtime(address.is_v6() ? "[{}]:{}" : "{}:{}"),
                                          address.to_string(), entry.endpoint().port()));
        }
        std::sort(addresses.begin(), addresses.end());
        addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
        std::string why;
        if (error) why = fmt::format("{}: {}", host, error.message());
        done(std::move(addresses), std::move(why));
      });
}

}  // namespace dualmesh::net
