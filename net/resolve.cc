// Names to addresses: resolve() of http_client.h.
#include <spdlog/fmt/fmt.h>

#include <asio/ip/tcp.hpp>

#include "net/asio_loop.h"
#include "net/http_client.h"

namespace dualmesh::net {

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
