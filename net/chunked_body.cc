#include "net/chunked_body.h"

#include <algorithm>

#include "net/http_message.h"

namespace dualmesh::net {
namespace {

// Nobody sends either in earnest; a peer that does must not make us work for nothing.
constexpr std::size_t max_overhead_bytes = 8 * 1024;

}  // namespace

ChunkedBody::State ChunkedBody::take_size(char c) {
  if (const int digit = hex_digit(c); digit >= 0) {
    left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
    return ++digits_ > 16 ? State::failed : State::size;
  }
  if (digits_ == 0) return State::failed;
  if (c == '\r') return State::size_lf;
  return c == ';' ? State::extension : State::failed;
}

// Between quotes anything visible, spaces and bytes above 127; a backslash takes the next one
// along.
bool ChunkedBody::takes_quoted(unsigned char c) {
  if (quote_ == Quote::open && c == '"') {
    quote_ = Quote::closed;
  } else if (quote_ == Quote::open && c == '\\') {
    quote_ = Quote::escaped;
  } else {
    quote_ = Quote::open;
  }
  return (c >= 0x20 && c != 0x7f) || c == '\t';
}

ChunkedBody::State ChunkedBody::take_extension(char c) {
  const bool quoted = quote_ == Quote::open || quote_ == Quote::escaped;
  const auto byte = static_cast<unsigned char>(c);
  if (++overhead_bytes_ > max_overhead_bytes) return State::failed;
  if (quoted) return takes_quoted(byte) ? State::extension : State::failed;
  if (quote_ == Quote::closed && c != ';' && c != '\r') return State::failed;
  if (c == '"' && last_ != '=') return State::failed;
  quote_ = c == '"' ? Quote::open : Quote::none;
  last_ = c;
  if (c == '\r') return State::size_lf;
  return byte > 0x20 && byte < 0x7f ? State::extension : State::failed;
}

ChunkedBody::State ChunkedBody::take_trailer(char c) {
  if (c != '\n') {
    line_.push_back(c);
    return ++overhead_bytes_ <= max_overhead_bytes ? State::trailer : State::failed;
  }
  if (line_.empty() || line_.back() != '\r') return State::failed;
  line_.pop_back();
  if (line_.empty()) return State::done;
  std::string_view name, value;
  if (!split_field(line_, name, value)) return State::failed;
  line_.clear();
  return State::trailer;
}

Decoded ChunkedBody::decode(std::string_view& input, std::string_view& piece) {
  while (state_ != State::done && state_ != State::failed) {
    if (input.empty()) return Decoded::need_more;
    if (state_ == State::data) {
      piece =
          input.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, input.size())));
      input.remove_prefix(piece.size());
      left_ -= piece.size();
      if (left_ == 0) state_ = State::data_cr;
      return Decoded::piece;
    }
    const char c = input.front();
    input.remove_prefix(1);
    switch (state_) {
      case State::size:
        state_ = take_size(c);
        break;
      case State::extension:
        state_ = take_extension(c);
        break;
      case State::size_lf:
        state_ = c != '\n' ? State::failed : left_ == 0 ? State::trailer : State::data;
        digits_ = 0;
        break;
      case State::data_cr:
        state_ = c == '\r' ? State::data_lf : State::failed;
        break;
      case State::data_lf:
        state_ = c == '\n' ? State::size : State::failed;
        break;
      case State::trailer:
        state_ = take_trailer(c);
        break;
      default:
        break;
    }
  }
  return state_ == State::done ? Decoded::done : Decoded::failed;
}

Decoded BodyReader::decode(std::string_view& input, std::string_view& piece) {
  switch (framing_.kind) {
    case BodyFraming::Kind::none:
      return Decoded::done;
    case BodyFraming::Kind::chunked:
      return chunks_.decode(input, piece);
    case BodyFraming::Kind::until_close:
      if (input.empty()) return Decoded::need_more;
      piece = input;
      input = {};
      return Decoded::piece;
    case BodyFraming::Kind::length:
      break;
  }
  if (framing_.length == 0) return Decoded::done;
  if (input.empty()) return Decoded::need_more;
  piece = input.substr(
      0, static_cast<std::size_t>(std::min<std::uint64_t>(framing_.length, input.size())));
  input.remove_prefix(piece.size());
  framing_.length -= piece.size();
  return Decoded::piece;
}

}  // namespace dualmesh::net
