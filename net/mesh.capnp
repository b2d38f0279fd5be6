@0xa4eda633a22d5fd7;
# The wire of the mesh: what nodes say to each other. The administrators' half is admin.capnp.
#
# Compatibility: fields are only ever added. `protocolVersion` rises when an old node would act wrongly
# on a new message, and the handshake refuses what is too far apart, with a reason both sides log.
#
# One mechanism carries all shared state. Every node publishes *streams*; each stream has versions
# issued by the node that sends it, and a peer acknowledges the version it has applied. A push holds the
# changes after the acknowledged version, cut at a size limit; at most one push per peer is under way,
# so what waits for a slow peer is a set of changed keys, never a queue of messages.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("dualmesh::wire");

struct Origin {
  node @0 :UInt64;
  epoch @1 :UInt64;
}

enum StreamKind {
  membership @0;   # table   (crdt/table.h)
  registry @1;     # table
  settings @2;     # table
  depth @3;        # table
  load @4;         # feed    (crdt/feed.h)
  health @5;       # feed
  status @6;       # feed
  residency @7;    # window  (crdt/window_feed.h)
}

struct Stamp {
  time @0 :UInt64;    # milliseconds << 16 | counter
  writer @1 :UInt64;
}

struct Member {
  node @0 :UInt64;
  epoch @1 :UInt64;
  refutations @2 :UInt64;
  status @3 :UInt8;          # crdt::MemberStatus
  name @4 :Text;
  meshAddress @5 :Text;
  httpAddress @6 :Text;
  build @7 :Text;
}

struct RegistryField {       # one field of one instance
  instance @0 :Text;
  field @1 :UInt8;           # node::InstanceField
  stamp @2 :Stamp;
  value @3 :Text;
}

struct Setting {
  key @0 :Text;
  siblings @1 :List(Sibling);
  seen @2 :List(Stamp);
  struct Sibling {
    dot @0 :Stamp;
    value @1 :Text;
  }
}

struct DepthMark {
  bucket @0 :UInt64;         # wall clock / bucket length
  key @1 :UInt64;            # prefix key, a salted hash; prompt text never travels
  deeper @2 :UInt32;
}

struct Waiting {
  slackMs @0 :Int32;         # until it is due, when this was written
  tokens @1 :UInt32;         # uncached
}

struct LoadRow {             # policies::Load; absent = all zero
  instance @0 :UInt64;
  version @1 :UInt64;
  deleted @2 :Bool;
  queuedRequests @3 :UInt32;
  prefillingRequests @4 :UInt32;
  decodingRequests @5 :UInt32;
  queuedTokens @6 :UInt64;
  prefillingTokens @7 :UInt64;
  decodingTokens @8 :UInt64;
  headWaitMs @9 :UInt32;
  prefillLeftMs @11 :UInt32;
  waiting @10 :List(Waiting);  # the first of the queue, at most 8
}

struct HealthRow {
  instance @0 :UInt64;
  version @1 :UInt64;
  deleted @2 :Bool;
  healthy @3 :Bool;
}

struct StatusRow {           # named numbers a node says of itself (node::StatusKey)
  key @0 :UInt8;
  version @1 :UInt64;
  value @2 :UInt64;
}

struct Placement {           # this block was placed at this instance
  instance @0 :UInt64;
  block @1 :UInt64;
}

struct Delta {
  kind @0 :StreamKind;
  origin @1 :Origin;         # of the versions: the writer of a feed, the sender of a table
  from @2 :UInt64;           # exclusive
  to @3 :UInt64;
  horizon @4 :UInt64;        # feed: collected; window: floor; table: unused
  union {
    membership @5 :List(Member);
    registry @6 :List(RegistryField);
    settings @7 :List(Setting);
    depth @8 :List(DepthMark);
    load @9 :List(LoadRow);
    health @10 :List(HealthRow);
    status @11 :List(StatusRow);
    residency @12 :List(Placement);  # entry i has version residencyVersions[i]
  }
  residencyVersions @13 :List(UInt64);
  cut @14 :Bool;             # feed: the writer has changed more than this since `from`
}

struct StreamPosition {
  kind @0 :StreamKind;
  origin @1 :Origin;
  version @2 :UInt64;
  count @3 :UInt64;          # state digest
  sum @4 :UInt64;
  partial @5 :Bool;          # what was applied last was cut: the digest is not the writer's at that version
}

struct FeedPositions {       # how far a node holds the feeds of a writer; 0: nothing of that life
  writer @0 :Origin;
  load @1 :UInt64;
  health @2 :UInt64;
  status @3 :UInt64;
  residency @4 :UInt64;
}

struct Accusation {          # a life of a node that is silent to the sender too (node/mesh/failure_detector.h)
  node @0 :UInt64;
  epoch @1 :UInt64;
  refutations @2 :UInt64;
}

struct Parameters {          # equal on all nodes of a mesh, but for those of different generations
  cluster @0 :Text;
  blockBytes @1 :UInt32;
  chainSeed @2 :UInt64;
  ringPointsPerWeight @3 :UInt32;
  ringSeedA @4 :UInt64;
  ringSeedB @5 :UInt64;
  generation @6 :UInt32 = 1; # of all but the cluster (node/mesh/ring_generation.h)
}

struct Hello {
  protocolVersion @0 :UInt32;
  parameters @1 :Parameters;
  from @2 :Member;
  wallMs @3 :UInt64;
  joining @4 :Bool;          # not ready yet: send all you know, whoever said it, until a ping says ready
}

struct Welcome {
  accepted @0 :Bool;
  refusal @1 :Text;          # why not; both sides log it
  from @2 :Member;
  knownEpoch @3 :UInt64;     # the highest epoch we know for the caller: it must start above it
  wallMs @4 :UInt64;
  protocolVersion @5 :UInt32;
  caller @6 :Member;         # how we know the caller, if not as alive: it refutes before it says more,
                             # or its first words would not be taken
}

struct SavedState {          # what a node keeps in its state_dir
  registry @0 :List(RegistryField);
  settings @1 :List(Setting);
}

interface Bootstrap {
  # Offered to whoever connects. Everything else is behind the handshake.
  hello @0 (hello :Hello) -> (welcome :Welcome, peer :Peer);
  admin @1 () -> (admin :AnyPointer);  # admin.capnp Admin
}

interface Peer {
  # Capability of an accepted node; it speaks for the Origin of its hello.
  push @0 (deltas :List(Delta)) -> (positions :List(StreamPosition));
  # The positions are those of the streams in the push, after applying it: the acknowledgement.

  ping @1 (origin :Origin, sentMs :UInt64, wanted :List(FeedPositions),
        accused :List(Accusation), joining :Bool)
      -> (origin :Origin, wallMs :UInt64, relaying :List(UInt64), held :FeedPositions,
          tables :UInt64);
  # Direct evidence of life. `wanted`: writers whose own words do not reach the caller, how far it has
  # their feeds, and which it asks the callee to pass on until a ping no longer names them. `relaying`:
  # those among them of whom the callee hears itself. `held`: how far the callee has the caller's feeds,
  # so that a column that was dropped comes again at once. `accused`: all whom the caller accuses of its
  # own observation, which confirms the suspicions of others. `joining`: as in Hello. `tables`: one
  # digest over the callee's registry, settings and depth.

  pingFor @2 (target :UInt64) -> (reached :Bool);
  # Indirect probe: can you reach it? (SWIM)

  positions @3 () -> (positions :List(StreamPosition), root :UInt64);
  # Digest exchange: where you are in every stream.

  registry @4 (instance :Text, field :UInt8) -> (rows :List(RegistryField));
  # For a caller that has been away for longer than the collection horizon: the rows of the registry
  # from the first key not below (instance, field), in order of keys, cut at the size of a push; none: no
  # more.

  kv @5 (messages :List(Data)) -> (messages :List(Data));
  # Messages about caches, those of the callee for the caller in the answer. What is in them is not the
  # mesh's business (node/kv/kv_exchange.h), nor whether they arrive.
}
