#include "node/kv/msgpack_reader.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace dualmesh::node {
namespace {

using Kind = MsgpackReader::Kind;

std::uint64_t big_endian_8(const unsigned char* bytes) {
  std::uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  if constexpr (std::endian::native == std::endian::little) word = __builtin_bswap64(word);
  return word;
}

Kind kind_of(unsigned char first) {
  if (first < 0x80 || first >= 0xe0) return Kind::integer;
  if (first < 0x90) return Kind::map;
  if (first < 0xa0) return Kind::array;
  if (first < 0xc0) return Kind::text;
  constexpr Kind kinds[] = {
      Kind::nil,       Kind::none,      Kind::boolean,   Kind::boolean,    // c0
      Kind::binary,    Kind::binary,    Kind::binary,    Kind::extension,  // c4
      Kind::extension, Kind::extension, Kind::real,      Kind::real,       // c8
      Kind::integer,   Kind::integer,   Kind::integer,   Kind::integer,    // cc
      Kind::integer,   Kind::integer,   Kind::integer,   Kind::integer,    // d0
      Kind::extension, Kind::extension, Kind::extension, Kind::extension,  // d4
      Kind::extension, Kind::text,      Kind::text,      Kind::text,       // d8
      Kind::array,     Kind::array,     Kind::map,       Kind::map,        // dc
  };
  return kinds[first - 0xc0];
}

}  // namespace

bool MsgpackReader::fail(MsgpackError error) {
  if (error_ == MsgpackError::none) error_ = error;
  return false;
}

Kind MsgpackReader::peek() const { return !ok() || at_ == end_ ? Kind::none : kind_of(*at_); }

bool MsgpackReader::number(unsigned bytes, std::uint64_t& value) const {
  if (left() < 1 + bytes) return false;
  value = 0;
  for (unsigned i = 1; i <= bytes; ++i) value = value << 8 | at_[i];
  return true;
}

// Heads from 0xc0 on whose content is a number of 1, 2, 4 or 8 bytes.
bool MsgpackReader::sized_head(unsigned char first, Head& head) {
  unsigned bytes = 0;
  switch (first) {
    case 0xc4:
    case 0xc7:
    case 0xcc:
    case 0xd0:
    case 0xd9:
      bytes = 1;
      break;
    case 0xc5:
    case 0xc8:
    case 0xcd:
    case 0xd1:
    case 0xda:
    case 0xdc:
    case 0xde:
      bytes = 2;
      break;
    case 0xc6:
    case 0xc9:
    case 0xca:
    case 0xce:
    case 0xd2:
    case 0xdb:
    case 0xdd:
    case 0xdf:
      bytes = 4;
      break;
    case 0xcb:
    case 0xcf:
    case 0xd3:
      bytes = 8;
      break;
    default:
      break;  // nil, booleans and extensions of fixed size
  }
  head.bytes = static_cast<std::uint8_t>(1 + bytes);
  if (!number(bytes, head.content)) return fail(MsgpackError::truncated);
  if (first == 0xc3) head.content = 1;
  if (first >= 0xd4 && first <= 0xd8) head.content = std::uint64_t{1} << (first - 0xd4);
  if (head.kind == Kind::extension) ++head.content;  // its type
  if (first >= 0xd0 && first <= 0xd3) {              // signed: its top bit counts down
    const unsigned above = 64 - 8 * bytes;
    head.content =
        static_cast<std::uint64_t>(static_cast<std::int64_t>(head.content << above) >> above);
    head.negative = static_cast<std::int64_t>(head.content) < 0;
  }
  return true;
}

bool MsgpackReader::head(Head& head) {
  if (!ok()) return false;
  if (at_ == end_) return fail(MsgpackError::truncated);
  const unsigned char first = *at_;
  head = {.kind = kind_of(first)};
  if (head.kind == Kind::none) return fail(MsgpackError::reserved);
  if (first < 0x80) {
    head.content = first;
  } else if (first < 0xa0) {
    head.content = first & 0x0f;
  } else if (first < 0xc0) {
    head.content = first & 0x1f;
  } else if (first >= 0xe0) {
    head.content = static_cast<std::uint64_t>(static_cast<std::int8_t>(first));
    head.negative = true;
  } else {
    return sized_head(first, head);
  }
  return true;
}

bool MsgpackReader::counted(Kind kind, unsigned bytes_each, std::uint32_t& count) {
  Head found;
  if (!head(found)) return false;
  if (found.kind != kind) return fail(MsgpackError::wrong_kind);
  if (found.content > (left() - found.bytes) / bytes_each) return fail(MsgpackError::truncated);
  count = static_cast<std::uint32_t>(found.content);
  at_ += found.bytes;
  return true;
}

bool MsgpackReader::read_array(std::uint32_t& elements) {
  return counted(Kind::array, 1, elements);
}

bool MsgpackReader::read_map(std::uint32_t& pairs) { return counted(Kind::map, 2, pairs); }

bool MsgpackReader::read_integer(std::uint64_t& bits, bool& negative) {
  if (ok() && left() > 8 && *at_ == 0xcf) {  // a hash, as nearly always
    bits = big_endian_8(at_ + 1);
    negative = false;
    at_ += 9;
    return true;
  }
  Head found;
  if (!head(found)) return false;
  if (found.kind != Kind::integer) return fail(MsgpackError::wrong_kind);
  bits = found.content;
  negative = found.negative;
  at_ += found.bytes;
  return true;
}

bool MsgpackReader::read_unsigned(std::uint64_t& value, std::uint64_t at_most) {
  Head found;
  if (!head(found)) return false;
  if (found.kind != Kind::integer || found.negative || found.content > at_most) {
    return fail(MsgpackError::wrong_kind);
  }
  value = found.content;
  at_ += found.bytes;
  return true;
}

bool MsgpackReader::read_real(double& value) {
  Head found;
  if (!head(found)) return false;
  if (found.kind == Kind::integer) {
    value = found.negative ? static_cast<double>(static_cast<std::int64_t>(found.content))
                           : static_cast<double>(found.content);
  } else if (found.kind != Kind::real) {
    return fail(MsgpackError::wrong_kind);
  } else if (found.bytes == 5) {
    value = std::bit_cast<float>(static_cast<std::uint32_t>(found.content));
  } else {
    value = std::bit_cast<double>(found.content);
  }
  at_ += found.bytes;
  return true;
}

bool MsgpackReader::stretch(Kind kind, std::string_view& out) {
  Head found;
  if (!head(found)) return false;
  if (found.kind != kind) return fail(MsgpackError::wrong_kind);
  if (found.content > left() - found.bytes) return fail(MsgpackError::truncated);
  if (found.content > max_text_bytes_) return fail(MsgpackError::too_long);
  out = {reinterpret_cast<const char*>(at_) + found.bytes, static_cast<std::size_t>(found.content)};
  at_ += found.bytes + found.content;
  return true;
}

bool MsgpackReader::read_text(std::string_view& text) { return stretch(Kind::text, text); }

bool MsgpackReader::read_binary(std::string_view& bytes) { return stretch(Kind::binary, bytes); }

// Of numbers of two and of four bytes, as nearly all tokens are, where the second begins is told by
// the first's own byte; both of its places are looked at meanwhile, so that two cost the time of
// one. No branch depends on which they are: nobody can foretell it.
std::size_t MsgpackReader::read_usual_u32s(std::uint32_t* out, std::size_t at_most) {
  constexpr std::ptrdiff_t kReadAhead = 14;  // beyond the first byte of the first
  const unsigned char* at = at_;
  const auto is_wide = [](unsigned char first) { return first - 0xcdu; };  // 0, 1, or neither
  const auto value = [](const unsigned char* first, unsigned wide) {
    return static_cast<std::uint32_t>(big_endian_8(first + 1) >> (48 - 16 * wide));
  };
  std::size_t count = 0;
  while (count + 1 < at_most && end_ - at > kReadAhead) {
    const unsigned first = is_wide(at[0]), near = is_wide(at[3]), far = is_wide(at[5]);
    const unsigned second = near ^ ((near ^ far) & (0u - first));
    if (first > 1 || second > 1) break;
    const unsigned char* const next = at + 3 + 2 * first;
    out[count] = value(at, first);
    out[count + 1] = value(next, second);
    count += 2;
    at = next + 3 + 2 * second;
  }
  at_ = at;
  return count;
}

std::size_t MsgpackReader::read_u32s(std::uint32_t* out, std::size_t at_most) {
  std::size_t count = 0;
  while (count < at_most && ok()) {
    count += read_usual_u32s(out + count, at_most - count);
    if (count < at_most && at_ != end_ && *at_ < 0x80) {
      out[count++] = *at_++;
      continue;
    }
    Head found;
    if (count == at_most || peek() != Kind::integer) break;
    if (!head(found) || found.negative || found.content > UINT32_MAX) break;
    out[count++] = static_cast<std::uint32_t>(found.content);
    at_ += found.bytes;
  }
  return count;
}

std::size_t MsgpackReader::read_u64s(std::uint64_t* out, std::size_t at_most) {
  const std::size_t most = ok() ? std::min(at_most, left() / 9) : 0;
  std::size_t count = 0;
  for (; count < most && at_[9 * count] == 0xcf; ++count) {
    out[count] = big_endian_8(at_ + 9 * count + 1);
  }
  at_ += 9 * count;
  return count;
}

bool MsgpackReader::skip() {
  const unsigned char* const start = at_;
  std::uint64_t wanted = 1;  // values still to come, those inside others included
  while (wanted > 0) {
    if (take_nil()) {  // lists of extras hold little else
      --wanted;
      continue;
    }
    Head found;
    bool whole = wanted <= left() && head(found);
    if (whole) {
      at_ += found.bytes;
      --wanted;
      if (found.kind == Kind::array) wanted += found.content;
      if (found.kind == Kind::map) wanted += 2 * found.content;
      const bool stretch =
          found.kind == Kind::text || found.kind == Kind::binary || found.kind == Kind::extension;
      whole = !stretch || found.content <= left();
      if (whole && stretch) at_ += found.content;
    }
    if (!whole) {
      at_ = start;
      return fail(MsgpackError::truncated);
    }
  }
  return true;
}

}  // namespace dualmesh::node
