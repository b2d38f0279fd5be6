#include "node/kv/msgpack_reader.h"

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

// Token ids are most of what engines send, so their usual forms are read without a branch on width.
std::size_t MsgpackReader::read_u32s(std::uint32_t* out, std::size_t at_most) {
  std::size_t count = 0;
  while (count < at_most && ok()) {
    if (left() >= 8) {
      const unsigned first = *at_;
      if (first < 0x80) {
        out[count++] = first;
        ++at_;
        continue;
      }
      if (first >= 0xcc && first <= 0xce) {
        const unsigned bytes = 1u << (first & 3);
        out[count++] = static_cast<std::uint32_t>(big_endian_8(at_) << 8 >> (64 - 8 * bytes));
        at_ += 1 + bytes;
        continue;
      }
    }
    if (peek() != Kind::integer) break;
    Head found;
    if (!head(found) || found.negative || found.content > UINT32_MAX) break;
    out[count++] = static_cast<std::uint32_t>(found.content);
    at_ += found.bytes;
  }
  return count;
}

bool MsgpackReader::skip() {
  const unsigned char* const start = at_;
  std::uint64_t wanted = 1;  // values still to come, those inside others included
  while (wanted > 0) {
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
