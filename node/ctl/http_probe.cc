#include "node/ctl/http_probe.h"

#include <array>
#include <string_view>

namespace dualmesh::node::ctl {
namespace {

constexpr std::string_view kAsked = "GET / HTTP/1.1\r\nHost: dualmesh\r\n\r\n";
constexpr std::string_view kHttp = "HTTP/";

struct Exchange {
  kj::Own<kj::AsyncIoStream> stream;
  std::array<char, kHttp.size()> answer{};
};

kj::Promise<bool> answers_http(kj::Own<kj::AsyncIoStream> stream) {
  auto exchange = kj::heap<Exchange>();
  exchange->stream = kj::mv(stream);
  Exchange& it = *exchange;
  return it.stream->write(kAsked.data(), kAsked.size())
      .then([&it]() { return it.stream->tryRead(it.answer.data(), kHttp.size(), kHttp.size()); })
      .then([&it](std::size_t) {
        return std::string_view(it.answer.data(), it.answer.size()) == kHttp;
      })
      .attach(kj::mv(exchange));
}

}  // namespace

kj::Promise<bool> speaks_http(kj::AsyncIoProvider& provider, const std::string& address,
                              std::uint16_t default_port) {
  auto asked =
      kj::evalNow([&] { return provider.getNetwork().parseAddress(address, default_port); })
          .then([](kj::Own<kj::NetworkAddress>&& parsed) {
            auto connected = parsed->connect();
            return connected.attach(kj::mv(parsed));
          })
          .then([](kj::Own<kj::AsyncIoStream>&& stream) { return answers_http(kj::mv(stream)); });
  return provider.getTimer()
      .timeoutAfter(kProbeTimeoutMs * kj::MILLISECONDS, kj::mv(asked))
      .catch_([](kj::Exception&&) { return false; });
}

}  // namespace dualmesh::node::ctl
