// Heads of HTTP/1.1 requests and responses, read strictly.
//
// The caller keeps the bytes from the first of the head on and calls parse() each time more have
// arrived; a head is judged line by line as lines complete, so the verdict does not depend on where
// the network cut it. What two parsers could read differently is refused: line ends other than
// CRLF, folded lines, spaces around names, repeated, mixed or disguised framing fields, no or two
// Hosts, targets that may be resolved to another (target_check.h).
//
// Invariant: after `complete`, the headers hold no hop-by-hop field and no framing field (but a
// response keeps Content-Length), and framing() says where the body ends.
// Threads: values.
// Source: RFC 9112 (the strict option each time), RFC 9110 5.5, 5.6.2, 7.2, 7.6.1.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/field_kind.h"
#include "net/http_message.h"

namespace dualmesh::net {

class StopFinder;

inline constexpr std::string_view kTooManyFields = "more header fields than this server accepts";

struct HeadLimits {
  std::size_t head_bytes = 32 * 1024;
  std::size_t fields = 100;
};

enum class Parsed { need_more, complete, failed };

struct BodyFraming {
  enum class Kind { none, length, chunked, until_close } kind = Kind::none;
  std::uint64_t length = 0;  // with Kind::length
};

// One `name: value` line without its CRLF. False when it is not exactly that.
bool split_field(std::string_view line, std::string_view& name, std::string_view& value);

// What both kinds of head share: lines, fields, framing facts.
class HeadParser {
 public:
  // `drops_length`: Content-Length is told by framing() alone.
  HeadParser(HeadLimits limits, bool drops_length) : limits_(limits), drops_length_(drops_length) {}

  std::size_t head_size() const { return position_; }  // after `complete`: bytes of the head
  const BodyFraming& framing() const { return framing_; }
  bool keep_alive() const { return keep_alive_; }
  int minor_version() const { return minor_version_; }
  // After `failed`: the status a server answers, and why in plain words.
  int error_status() const { return error_status_; }
  std::string_view error_reason() const { return error_reason_; }

 protected:
  enum class Line { complete, need_more, failed };
  const char* line_end(StopFinder& stops, std::string_view buffered);
  Line next_line(StopFinder& stops, std::string_view buffered, std::string_view& line);
  enum class Take { keep, drop, fail };
  Take take_known(FieldKind kind, std::string_view line, std::string_view value);
  // `line` lies in `buffered`.
  bool take_field(std::string_view buffered, std::string_view line);
  // All lines after the first. `complete`: the empty one that ends the head has been taken.
  Parsed take_fields(StopFinder stops, std::string_view buffered);
  // The fields of the head that has been read whole, without those that Connection names.
  void take_headers(std::string_view buffered, Headers& headers);
  bool parse_connection(std::string_view value);
  bool parse_content_length(std::string_view value);
  void set_keep_alive();
  bool fail(int status, std::string_view reason);

  HeadLimits limits_;
  bool drops_length_;
  std::size_t position_ = 0;  // start of the first line not yet taken
  std::size_t searched_ = 0;  // no LF before this
  bool dirty_ = false;        // a line has a control character in it
  std::size_t fields_ = 0;
  std::vector<Headers::Place> places_;  // of the fields kept, from the first byte of the head
  static constexpr std::size_t kMostNamed = 16;
  std::vector<std::string> named_;  // by Connection; hardly ever any
  bool started_ = false;            // the first line has been taken
  int minor_version_ = 1;
  int hosts_ = 0;
  bool has_length_ = false;
  std::uint64_t length_ = 0;
  int transfer_encodings_ = 0;
  bool chunked_ = false;
  bool says_close_ = false;
  bool says_keep_alive_ = false;
  bool keep_alive_ = false;
  bool expects_continue_ = false;
  bool unknown_expectation_ = false;
  BodyFraming framing_;
  int error_status_ = 0;
  std::string_view error_reason_;
};

class RequestParser : public HeadParser {
 public:
  explicit RequestParser(HeadLimits limits) : HeadParser(limits, true) {}
  // `buffered` starts at the first byte of the head, each time.
  Parsed parse(std::string_view buffered, HttpRequest& request);
  bool expects_continue() const { return expects_continue_; }

 private:
  bool take_request_line(std::string_view line, HttpRequest& request);
  bool take_target(std::string_view target, HttpRequest& request);
  bool check_target(std::string_view target);
  bool finish(HttpRequest& request);

  bool skipped_empty_line_ = false;
  std::string authority_;  // of an absolute-form target; must equal Host
};

class ResponseParser : public HeadParser {
 public:
  ResponseParser(HeadLimits limits, bool answers_head)
      : HeadParser(limits, false), answers_head_(answers_head) {}
  // Interim answers (1xx) complete like others; the caller skips them.
  Parsed parse(std::string_view buffered, HttpResponse& response);

 private:
  bool take_status_line(std::string_view line, HttpResponse& response);
  bool finish(HttpResponse& response);

  bool answers_head_;
};

}  // namespace dualmesh::net
