#include "net/destination.h"

#include <doctest/doctest.h>

namespace dualmesh::net {

TEST_CASE("addresses") {
  HostPort out;
  CHECK(split_destination("a:1", out));
  CHECK(out.host == "a");
  CHECK(split_destination("[fe80::1]:65535", out));
  CHECK(out.host == "fe80::1");
  CHECK(out.port == 65535);
  for (const char* bad : {"", "a", ":1", "a:", "a:x", "a:65536", "a:-1", "a:+1", "a: 1", "::1:80",
                          "[a]:1", "[::1]", "a b:1", "a/b:1", "a:1:2", "a:000001"}) {
    CAPTURE(bad);
    CHECK(!split_destination(bad, out, PortZero::allowed));
  }
  CHECK(!split_destination("a:0", out));
  CHECK(split_destination("a:0", out, PortZero::allowed));
}

TEST_CASE("an address taken apart and put together is the same") {
  for (const char* address : {"a:1", "10.0.0.1:65535", "[::]:8000", "[fe80::1]:80"}) {
    CAPTURE(address);
    HostPort parts;
    REQUIRE(split_destination(address, parts));
    CHECK(join_destination(parts) == address);
  }
}

TEST_CASE("every address of a host is one of three, and no single one") {
  for (const char* all : {"0.0.0.0", "::", "*"}) CHECK(is_everywhere(all));
  for (const char* one : {"127.0.0.1", "::1", "0.0.0.1", "localhost", ""}) {
    CHECK(!is_everywhere(one));
  }
}

TEST_CASE("loopback is what an address is, not how it is spelled") {
  for (const char* here : {"localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"}) {
    CAPTURE(here);
    CHECK(is_loopback(here));
  }
  for (const char* beyond : {"127.example.org", "127.0.0.1.example.org", "0.0.0.0",
                             "::", "10.0.0.1", "::ffff:10.0.0.1", ""}) {
    CAPTURE(beyond);
    CHECK(!is_loopback(beyond));
  }
}

}  // namespace dualmesh::net
