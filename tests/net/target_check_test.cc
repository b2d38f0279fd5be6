#include "net/target_check.h"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace dualmesh::net {

TEST_CASE("methods of the API are served, and no other") {
  for (const std::string_view method : {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"})
    CHECK(is_served_method(method));
  for (const std::string_view method : {"TRACE", "CONNECT", "get", "POSTS", "PROPFIND", "M-SEARCH"})
    CHECK_FALSE(is_served_method(method));
}

TEST_CASE("targets with one meaning are taken") {
  for (const std::string_view target :
       {"/", "*", "//", "/v1/chat/completions", "/v1/models/meta-llama/Llama-3.1-8B",
        "/v1/models/meta-llama%2FLlama-3.1", "/v1/files/a..b", "/v1/files/...", "/v1/files/.hidden",
        "/v1/files/x.", "/v1/x;y=.", "/v1/models?after=../x&q=%20", "/?..", "/v1/%E2%82%AC"}) {
    CAPTURE(target);
    CHECK(target_fault(target).empty());
  }
}

TEST_CASE("a path has one spelling: what needs no escape has none") {
  for (const std::string_view target :
       {"/v1/chat/completion%73", "/%76%31/chat", "/v1/x%2Dy", "/v1/%7euser", "/v1/%41"}) {
    CAPTURE(target);
    CHECK(target_fault(target) == "an escape in the request target of a character that needs none");
  }
  CHECK(target_fault("/v1/models?after=%41%2d").empty());
}

TEST_CASE("targets that a server may resolve to others are refused") {
  for (const std::string_view target :
       {"/..", "/.", "/v1/..", "/v1/../metrics", "/v1/./x", "/v1/%2e%2e/metrics",
        "/v1/%2E./metrics", "/v1/.%2e/metrics", "/v1/..%2fmetrics", "/v1/..%5cmetrics",
        "/v1/..\\metrics", "/v1/a%2f..%2f..%2fmetrics", "/v1/..;/metrics", "/v1/..;x=y/metrics",
        "/v1//../metrics", "/v1/..?x", "..", "/v1/%2e"}) {
    CAPTURE(target);
    CHECK(target_fault(target) == "a dot segment in the request target");
  }
  for (const std::string_view target :
       {"/%", "/%a", "/%zz", "/%0", "/v1/%u002e", "/?%", "/?a=%4", "/?a=%-1", "/%%41"}) {
    CAPTURE(target);
    CHECK(target_fault(target) == "an escape in the request target without two hexadecimal digits");
  }
  for (const std::string_view target : {"/%00", "/v1/x%00.json", "/?x=%00"}) {
    CAPTURE(target);
    CHECK(target_fault(target) == "a NUL in the request target");
  }
}

TEST_CASE("hosts") {
  for (const std::string_view host :
       {"a", "a.b:80", "10.0.0.1:65535", "a:", "[::1]", "[::1]:8080", "[::ffff:10.0.0.1]:1"}) {
    CAPTURE(host);
    CHECK(is_host(host));
  }
  for (const std::string_view host :
       {"", ":80", "a:0", "a:65536", "a:123456", "a:b", "a:80:90", "a:80,b", "u@a", "a/b", "a b",
        "[::1", "[]", "[::1]x", "[::1]:x", "[g::1]", "::1", "a[", "a:+1"}) {
    CAPTURE(host);
    CHECK_FALSE(is_host(host));
  }
}

}  // namespace dualmesh::net
