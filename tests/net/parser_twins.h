// Two other parsers of HTTP/1.1, http-parser (of Node.js, by its callbacks) and
// Boost.Beast, beside ours: what each makes of the bytes of a connection.
//
// Invariant looked for (difference()): whatever we take for a request, each of them refuses or
// takes for the same one: method, target, fields, body, and so the place where the next begins. The
// same for answers of instances, whose status stands for the method.
// What they accept and we refuse is no matter: that is what "strict" means.
//
// Where they differ without harm, and difference() looks away:
// - they hand on the absolute form of a target as it is, we make it the origin form of it;
// - we drop fields that end at this hop;
// - one may stop sooner: http-parser obeys Proxy-Connection: close, gives the connection away at
//   Upgrade, and overlooks a `close` in some lists. What is not read is not read differently;
// - what we send on they may refuse: to http-parser any name that begins with Transfer-Encoding is
//   that field, and bears no length beside it;
// - Beast keeps fields of one name together.
//
// Threads: values.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dualmesh::net::testing {

struct TwinMessage {
  std::string method, target;
  std::vector<std::pair<std::string, std::string>> fields;
  std::string body;
};

struct TwinReading {
  // What comes after the last message: nothing, a part of one, something refused, or what is not
  // read because the connection ends there.
  enum class End { clean, waits, refused, closed } end = End::clean;
  std::vector<TwinMessage> messages;
};

TwinReading read_ours(std::string_view bytes);
TwinReading read_http_parser(std::string_view bytes);
TwinReading read_beast(std::string_view bytes);

// Answers, up to the first that is not an interim one (1xx); the connection ends after the bytes.
TwinReading read_our_answer(std::string_view bytes);
TwinReading read_http_parser_answer(std::string_view bytes);
TwinReading read_beast_answer(std::string_view bytes);

// What is wrong between our reading and another of the same bytes; empty: nothing.
std::string difference(const TwinReading& ours, const TwinReading& theirs);

// The same with a Host, which a request of HTTP/1.0 may lack: so we send it on, and these are the
// bytes.
TwinMessage with_host(TwinMessage message);
std::string written_again(const TwinMessage& message);

}  // namespace dualmesh::net::testing
