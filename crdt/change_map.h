// ChangeMap: what a replica knows of a multiset that one source changes in numbered steps, when
// steps may be missing.
//
// The source (an inference engine and its cached blocks) numbers its batches of additions and
// removals 1, 2, 3, ...; nobody can ask it for the whole. A replica knows one interval (base, end]
// of that history and keeps its net effect. The effect on one key is (removed, added): first so many
// copies go, if there are as many, then so many come. Two effects one after the other are one again,
//   (r1, a1) then (r2, a2) = (r1 + max(0, r2 - a1), a2 + max(0, a1 - r2)),
// which is associative, so intervals may be laid over each other in any grouping. With base 0, or
// after a clearing, the interval is complete: its effect is the multiset itself, and `removed` is not
// kept.
//
// Invariant: a key is held only with removed + added > 0; a complete map has no removed. What is
// present (added > 0) was so after step end(); a complete one says all, another misses keys and never
// invents one.
// Merge: an interval that touches or overlaps a lower one is laid over it; one inside another is
// absorbed; of two with steps missing between them the later one is kept, which costs completeness
// and never truth. So what is known may depend on the order of merges, and what is said never does:
// equal (base, end) means equal state.
// Values: equal keys have equal values, or one that is not known yet (`Value::known()`): a known one
// stays. Counts saturate at 65,535.
// Cost: apply O(1) per change; join O(smaller side) where two are laid together. 24 bytes for a
// 64-bit key and a value of 12, in open addressing.
// Threads: none; owned by one thread. Source: ours; a delta interval (Almeida et al. 2018) of one
// writer under explicit bounds; the counts are the bicyclic monoid.
#pragma once
