// MsgpackReader: reads MessagePack, value by value, from bytes of unknown origin.
//
// A reader stands before a value; each read takes one, or fails and stands still. The first failure
// is kept and ends everything, except that a caller may go back to a value that was of another kind
// than asked for and skip it whole. Nothing is copied: texts point into the bytes.
//
// Invariant: never reads beyond the bytes. A count of elements is believed only as far as the bytes
// left could hold them, so that nobody allocates what a sender merely claims. Skipping needs
// neither recursion nor memory, however deep values nest, and takes time linear in the bytes.
// Threads: a value. Source: the MessagePack specification; extension types are skipped only.
#pragma once

#include <cstdint>
#include <string_view>

namespace dualmesh::node {

enum class MsgpackError : std::uint8_t {
  none,
  truncated,   // ends inside a value, or claims more elements than bytes
  wrong_kind,  // a value of another kind than asked for, or a number beyond its range
  reserved,    // the one byte that begins nothing
  too_long,    // a text beyond the limit
};

class MsgpackReader {
 public:
  enum class Kind : std::uint8_t {
    none,  // at the end, after an error, or the reserved byte
    nil,
    boolean,
    integer,
    real,
    text,
    binary,
    array,
    map,
    extension,
  };

  explicit MsgpackReader(std::string_view bytes, std::uint32_t max_text_bytes = 4096)
      : begin_(reinterpret_cast<const unsigned char*>(bytes.data())),
        at_(begin_),
        end_(begin_ + bytes.size()),
        max_text_bytes_(max_text_bytes) {}

  Kind peek() const;
  bool take_nil() {  // a nil, if one is next; no failure if not
    const bool is_nil = ok() && at_ != end_ && *at_ == 0xc0;
    at_ += is_nil;
    return is_nil;
  }
  bool read_array(std::uint32_t& elements);
  bool read_map(std::uint32_t& pairs);
  // The two's complement of negative ones.
  bool read_integer(std::uint64_t& bits, bool& negative);
  bool read_unsigned(std::uint64_t& value, std::uint64_t at_most);
  bool read_real(double& value);  // integers too
  bool read_text(std::string_view& text);
  bool read_binary(std::string_view& bytes);
  // Up to `at_most` integers of 32 bits into `out`; how many until something else came.
  std::size_t read_u32s(std::uint32_t* out, std::size_t at_most);
  // Up to `at_most` integers that take all 64 bits, as hashes nearly always do.
  std::size_t read_u64s(std::uint64_t* out, std::size_t at_most);
  bool skip();

  std::size_t position() const { return static_cast<std::size_t>(at_ - begin_); }
  std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
  MsgpackError error() const { return error_; }
  bool ok() const { return error_ == MsgpackError::none; }
  // Back to a position it stood at, without the failure since.
  void back_to(std::size_t position) {
    at_ = begin_ + position;
    error_ = MsgpackError::none;
  }

 private:
  // The value that begins at at_: what it is and where its content lies.
  struct Head {
    Kind kind = Kind::none;
    bool negative = false;
    std::uint8_t bytes = 1;     // of the head, the number's own bytes included
    std::uint64_t content = 0;  // number, bytes of text, elements, or bits of a real
  };
  bool head(Head& head);
  bool sized_head(unsigned char first, Head& head);
  bool number(unsigned bytes, std::uint64_t& value) const;  // big-endian, after the first byte
  bool counted(Kind kind, unsigned bytes_each, std::uint32_t& count);
  bool stretch(Kind kind, std::string_view& out);
  std::size_t read_usual_u32s(std::uint32_t* out, std::size_t at_most);
  bool fail(MsgpackError error);

  const unsigned char* begin_;
  const unsigned char* at_;
  const unsigned char* end_;
  std::uint32_t max_text_bytes_;
  MsgpackError error_ = MsgpackError::none;
};

}  // namespace dualmesh::node
