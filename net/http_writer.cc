#include "net/http_writer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "net/head_text.h"

namespace dualmesh::net {
namespace {

void append_number(std::string& out, std::uint64_t number, int base = 10) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number, base).ptr;
  out.append(digits, end);
}

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

// Of a value that nobody has checked.
void append_unchecked(std::string& out, std::string_view name, std::string_view value) {
  append_field(out, name, value);
  char* const end = out.data() + out.size() - 2;
  blank_line_ends(end - value.size(), end);
}

// A field's name, told from others by its fingerprint first.
struct Name {
  constexpr Name(std::string_view name, std::uint32_t its_fingerprint)
      : text(name), fingerprint(its_fingerprint) {}
  constexpr explicit Name(std::string_view name) : Name(name, name_fingerprint(name)) {}
  bool is(const Name& other) const {
    return fingerprint == other.fingerprint && equals_ignoring_case(text, other.text);
  }
  std::string_view text;
  std::uint32_t fingerprint;
};

// Which fields are written again, asked once for each; never those that we write ourselves.
class FieldFilter {
 public:
  explicit FieldFilter(const FieldChanges& changes)
      : prefix_(changes.dropped_prefix), prefix_letter_(prefix_.empty() ? 0 : prefix_.front()) {
    for (const std::string_view name : changes.dropped) leave_out(name);
    for (const Headers::Field& field : changes.set) leave_out(field.name);
  }

  bool keeps(std::string_view name, std::uint32_t fingerprint) const {
    // Most are told by a bit and a letter.
    const bool may_be_left_out = (seen_ & fingerprint_bit(fingerprint)) != 0;
    if (may_be_left_out && is_left_out({name, fingerprint})) return false;
    return (name.front() | 0x20) != prefix_letter_ || !has_prefix(name);
  }

 private:
  static constexpr std::array<Name, 4> ours = {Name("connection"), Name("keep-alive"),
                                               Name("content-length"), Name("transfer-encoding")};

  static constexpr std::uint64_t bits_of_ours() {
    std::uint64_t bits = 0;
    for (const Name& name : ours) bits |= fingerprint_bit(name.fingerprint);
    return bits;
  }

  bool is_left_out(const Name& name) const;
  bool has_prefix(std::string_view name) const {
    return equals_ignoring_case(name.substr(0, prefix_.size()), prefix_);
  }
  void leave_out(std::string_view name) {
    left_out_.emplace_back(name);
    seen_ |= fingerprint_bit(left_out_.back().fingerprint);
  }

  const std::string_view prefix_;
  const int prefix_letter_;  // its first; 0: there is no prefix
  boost::container::small_vector<Name, 8> left_out_;
  std::uint64_t seen_ = bits_of_ours();  // the bits of what is left out, perhaps of others
};

bool FieldFilter::is_left_out(const Name& name) const {
  const auto is_it = [&](const Name& one) { return one.is(name); };
  return std::ranges::any_of(ours, is_it) || std::ranges::any_of(left_out_, is_it);
}

void append_fields(std::string& out, const Headers& headers, const FieldFilter& filter) {
  for (std::size_t i = 0; i < headers.size();) {
    const Headers::Place& first = headers.place(i);
    const Headers::Field field = headers[i++];
    if (!filter.keeps(field.name, first.fingerprint)) continue;
    if (!first.as_written) {
      append_field(out, field.name, field.value);
      continue;
    }
    const Headers::Place* last = &first;
    for (; i < headers.size(); ++i) {
      const Headers::Place& next = headers.place(i);
      const bool is_adjacent = next.as_written && next.name == last->value + last->value_bytes + 2;
      if (!is_adjacent || !filter.keeps(headers[i].name, next.fingerprint)) break;
      last = &next;
    }
    out.append(headers.lines(first, *last));
  }
}

}  // namespace

void append_request_head(std::string& out, const HttpRequest& request, std::string_view authority,
                         std::size_t body_bytes, const FieldChanges& changes) {
  constexpr std::size_t room_for_ours = 512;  // the request line, and what changes
  out.reserve(out.size() + request.headers.bytes() + room_for_ours);
  out.append(request.method).append(" ");
  out.append(request.target.empty() ? "/" : request.target).append(" HTTP/1.1\r\n");
  const FieldFilter filter(changes);
  constexpr std::string_view host = "host";
  if (!request.headers.has(host) || !filter.keeps(host, name_fingerprint(host))) {
    append_field(out, "Host", authority);
  }
  append_fields(out, request.headers, filter);
  for (const Headers::Field field : changes.set) append_unchecked(out, field.name, field.value);
  if (body_bytes > 0 || request.method == "POST" || request.method == "PUT" ||
      request.method == "PATCH") {
    out.append("Content-Length: ");
    append_number(out, body_bytes);
    out.append("\r\n");
  }
  out.append("\r\n");
}

void append_response_head(std::string& out, int status, const Headers& headers,
                          const ResponseFraming& framing) {
  out.append("HTTP/1.1 ");
  append_number(out, static_cast<std::uint64_t>(status));
  out.append(" ").append(reason_phrase(status)).append("\r\n");
  append_fields(out, headers, FieldFilter({}));
  if (framing.length) {
    out.append("Content-Length: ");
    append_number(out, *framing.length);
    out.append("\r\n");
  } else if (framing.chunked) {
    out.append("Transfer-Encoding: chunked\r\n");
  }
  if (framing.close) {
    out.append("Connection: close\r\n");
  } else if (framing.keep_alive_10) {
    out.append("Connection: keep-alive\r\n");
  }
  out.append("\r\n");
}

std::string chunk_head(std::size_t bytes) {
  std::string line;
  append_number(line, bytes, 16);
  line += "\r\n";
  return line;
}

}  // namespace dualmesh::net
