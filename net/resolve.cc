// Names to addresses: resolve() of http_client.h and destination.h.
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <asio/ip/tcp.hpp>
#include <charconv>

#include "net/asio_loop.h"
#include "net/destination.h"
#include "net/http_client.h"

namespace dualmesh::net {

bool split_destination(std::string_view text, HostPort& out, PortZero zero) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (host.find(':') == std::string_view::npos) return false;
  } else if (host.find(':') != std::string_view::npos) {
    return false;  // an IPv6 address without brackets is ambiguous
  }
  if (host.empty() || host.size() > 253 || digits.empty() || digits.size() > 5) return false;
  const auto bad = [](char c) { return c <= ' ' || c == 0x7f || c == '/' || c == '[' || c == ']'; };
  if (std::ranges::any_of(host, bad)) return false;
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  if (port == 0 && zero == PortZero::refused) return false;
  out = {std::string(host), port};
  return true;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  std::error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) return false;
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6()).is_loopback();
  }
  return address.is_loopback();
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
