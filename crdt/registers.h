// Registers: single values that many may write, as lattices for crdt/table.h.
//
//  LastWriter<T>  the value with the greatest stamp; equal stamps fall back to the greater value, so
//                 that two nodes seeding from differing files still converge.
//  Max<T>         the greatest value ever joined.
//  MultiValue<T>  all values that no other value has overwritten: concurrent edits stay visible.
//                 Each value carries a dot (writer, counter) and the version vector it had seen.
//
// Merge: as above; each `join` returns whether the register grew.
// Cost: O(1), MultiValue O(siblings).
// Threads: none; values.
// Source: Shapiro et al. 2011, "A comprehensive study of convergent and commutative replicated data
// types" (3.2.1 LWW, 3.2.2 MV); MultiValue in the dotted form of Almeida et al. 2018.
#pragma once

#include <boost/container/flat_map.hpp>
#include <boost/container/small_vector.hpp>
#include <tuple>

#include "crdt/hybrid_clock.h"

namespace dualmesh::crdt {

template <class T>
struct LastWriter {
  Stamp stamp;
  T value{};

  bool join(const LastWriter& other) {
    if (std::tie(other.stamp, other.value) <= std::tie(stamp, value)) return false;
    *this = other;
    return true;
  }
  bool operator==(const LastWriter&) const = default;
};

template <class T>
struct Max {
  T value{};

  bool join(const Max& other) {
    if (other.value <= value) return false;
    value = other.value;
    return true;
  }
  bool operator==(const Max&) const = default;
};

template <class T>
class MultiValue {
 public:
  struct Sibling {
    Stamp dot;  // unique per write
    T value{};
    bool operator==(const Sibling&) const = default;
  };

  // Replaces every value visible here.
  void assign(Stamp dot, T value);
  bool join(const MultiValue& other);
  const boost::container::small_vector<Sibling, 1>& siblings() const { return siblings_; }
  // The value to act on until an administrator resolves a conflict: that of the greatest stamp.
  const T* chosen() const;
  bool operator==(const MultiValue&) const = default;

  // For codecs: the writers' greatest stamps seen by this register.
  const boost::container::flat_map<NodeId, std::uint64_t>& seen() const { return seen_; }
  static MultiValue restore(boost::container::small_vector<Sibling, 1> siblings,
                            boost::container::flat_map<NodeId, std::uint64_t> seen);

 private:
  boost::container::small_vector<Sibling, 1> siblings_;        // in rising dot order
  boost::container::flat_map<NodeId, std::uint64_t> seen_;     // causal context: writer -> time
};

}  // namespace dualmesh::crdt
