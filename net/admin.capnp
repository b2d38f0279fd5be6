@0x8734626384fd24ac;
# The administrators' half of the RPC interface: what dualmeshctl asks of a node.
#
# Durations are milliseconds, rates per second, ids hexadecimal text where people read them. Every
# answer describes the node that gives it; dualmeshctl asks each node for what concerns all.

using Cxx = import "/capnp/c++.capnp";
using Mesh = import "mesh.capnp";
$Cxx.namespace("dualmesh::wire");

struct Percentiles {
  count @0 :UInt64;
  p50 @1 :Float64;
  p99 @2 :Float64;
  max @3 :Float64;
}

struct Count {               # so often, or so much, of one kind
  name @0 :Text;
  count @1 :UInt64;
}

struct MemberInfo {
  node @0 :Text;             # hexadecimal
  name @1 :Text;
  status @2 :Text;           # alive, suspect, dead, left
  epoch @3 :UInt64;
  refutations @4 :UInt64;
  meshAddress @5 :Text;
  httpAddress @6 :Text;
  build @7 :Text;
  isSelf @8 :Bool;
  linked @9 :Bool;           # our link to it is up
  rttMs @10 :Float64;
  clockOffsetMs @11 :Float64;
  lastHeardMs @12 :Float64;  # ago
  sinceMs @13 :Float64;      # for so long in this status, as this node knows it
  relayedBy @14 :Text;       # the node that passes on its feeds, when it is not heard itself
}

struct NodeDigests {         # what a node routes by, as it told the one that was asked
  name @0 :Text;
  ready @1 :Bool;
  ringDigest @2 :Text;
  registryDigest @3 :Text;
  depthDigest @4 :Text;
  agrees @5 :Bool;           # all three with the node that was asked
}

struct Status {
  node @0 :Text;
  name @1 :Text;
  cluster @2 :Text;
  build @3 :Text;
  epoch @4 :UInt64;
  uptimeS @5 :Float64;
  ready @6 :Bool;
  notReadyReason @7 :Text;
  draining @8 :Bool;
  policy @9 :Text;
  membersAlive @10 :UInt32;
  membersKnown @11 :UInt32;
  instancesActive @12 :UInt32;
  instancesHealthy @13 :UInt32;
  panic @14 :List(Text);     # models whose health is ignored because more than half look dead
  ringDigest @15 :Text;
  registryDigest @16 :Text;
  depthDigest @17 :Text;
  requestsLive @18 :UInt64;
  requestsTotal @19 :UInt64;
  requestsFailed @20 :UInt64;
  requestsRejected @21 :UInt64;
  migrations @22 :UInt64;
  httpAddress @23 :Text;
  meshAddress @24 :Text;
  refusals @25 :List(Text);  # links refused, by us or to us, newest last, with the reason
  settingConflicts @26 :List(Text);
  heldBodyBytes @27 :UInt64;
  openConnections @28 :UInt64;
  partition @29 :Text;       # for people: how much of the mesh is unreachable; empty: none of it
  nodes @30 :List(NodeDigests);         # of all that are alive or suspect
  collectionHorizonMs @31 :UInt64;      # removed before it: forgotten; Unix time, 0: nothing yet
  removedInstances @32 :UInt64;         # still remembered
  collectedInstances @33 :UInt64;       # forgotten since this node started
  refusalCounts @34 :List(Count);       # by reason; those that are not zero
  relayedDeltas @35 :UInt64;            # applied, that came through a third node
  digestMismatches @36 :UInt64;         # one version with two contents: never normal
  resets @37 :UInt64;                   # as in PeerInfo, of all peers; likewise the next three
  snapshots @38 :UInt64;
  bytesSent @39 :UInt64;
  bytesReceived @40 :UInt64;
  certificateExpiresS @41 :Int64;       # Unix time; 0: no TLS
  localHealth @42 :UInt32;              # 0 well; up to 8: doubts itself, so it accuses late
  refutations @43 :UInt64;              # accusations of this node that it answered
  clockMs @44 :UInt64;                  # its wall clock
  snapshotsReceived @45 :UInt64;        # deltas applied that began a stream anew
  relayedBy @46 :List(Relay);           # the writers that this node does not hear itself

  struct Relay {
    writer @0 :Text;
    through @1 :Text;
  }
}

struct InstanceInfo {
  name @0 :Text;
  id @1 :Text;
  address @2 :Text;
  models @3 :List(Text);
  weight @4 :Float64;
  lifecycle @5 :Text;        # active, draining, removed
  source @6 :Text;           # config, dns, admin
  healthy @7 :Bool;          # as this node probes it
  unhealthyReason @8 :Text;
  overloaded @9 :Bool;
  own @10 :LoadInfo;
  others @11 :LoadInfo;
  prefillUsPerToken @12 :Float64;
  completed @13 :UInt64;
  failed @14 :UInt64;
  residentBlocks @15 :UInt64;
  kvEvents @16 :Text;        # where its engine publishes them; empty: nowhere
}

struct LoadInfo {
  queuedRequests @0 :UInt32;
  prefillingRequests @1 :UInt32;
  decodingRequests @2 :UInt32;
  pendingTokens @3 :UInt64;
  decodingTokens @4 :UInt64;
}

struct ModelRing {
  model @0 :Text;
  digest @1 :Text;
  members @2 :List(Text);
}

struct RingChange {          # this node adopted these rings
  digest @0 :Text;
  atNs @1 :UInt64;           # CLOCK_MONOTONIC of this host
}

struct Rings {
  digest @0 :Text;
  models @1 :List(ModelRing);
  depthDigest @2 :Text;
  depthMarks @3 :UInt64;
  nodes @4 :List(NodeRing);
  agree @5 :Bool;
  decisions @6 :UInt64;
  decisionsUnderDisagreement @7 :UInt64;
  agreementMs @8 :Percentiles;   # our ring change -> all live nodes report the same digest
  changes @9 :List(RingChange);  # newest last, at most 1,024
  generation @10 :UInt32;        # of the ring parameters in use
  configuredGeneration @11 :UInt32;
  struct NodeRing {
    name @0 :Text;
    ringDigest @1 :Text;
    depthDigest @2 :Text;
    agrees @3 :Bool;
    generation @4 :UInt32;       # 0: not told
  }
}

struct PeerInfo {
  name @0 :Text;
  node @1 :Text;
  linked @2 :Bool;
  pushes @3 :UInt64;
  bytesSent @4 :UInt64;
  bytesReceived @5 :UInt64;
  ackMs @6 :Percentiles;     # change at the writer -> acknowledged by this peer
  resets @7 :UInt64;         # snapshots sent because the peer was below the horizon or new
  refusedDeltas @8 :UInt64;
  reconnects @9 :UInt64;
  pendingMs @10 :Float64;    # age of the oldest change it has not acknowledged; 0 = in step
  snapshots @11 :UInt64;     # deltas sent from the beginning of a stream
  relayedBy @12 :Text;       # its feeds come through this node; empty: from itself
  relayedTo @13 :List(Text); # writers whose feeds we pass on to it
  sentByStream @14 :List(Count);  # bytes
}

struct Replication {
  name @0 :Text;
  node @1 :Text;
  streams @2 :List(Mesh.StreamPosition);
  peers @3 :List(PeerInfo);
  root @4 :Text;             # digest over all streams
}

struct Row {                 # one entry of a stream, for diff
  key @0 :Text;
  version @1 :UInt64;
  value @2 :Text;
}

struct Estimate {
  instance @0 :Text;
  ring @1 :Text;             # A, B; chosen, backup where the policy has no such two; or empty
  hitTokens @2 :UInt32;
  pendingTokens @3 :UInt64;
  ttftMs @4 :Float64;
  unavailable @5 :Text;      # in `hits` of explain: why nothing new goes there; empty: it may
  source @6 :Text;           # of hitTokens: exact, degraded, predicted, unknown
  hitBlocks @7 :UInt32;      # in answers to explain: as blocks, of the engine's size where it is known
  rank @8 :Int32 = -1;       # likewise: the data-parallel rank it would be sent to; -1: the engine chooses
  ranks @9 :UInt32;          # in `hits` of explain: of its ranks, those that publish events
}

struct Decision {
  id @0 :UInt64;
  agoMs @1 :Float64;
  model @2 :Text;
  policy @3 :Text;
  inputTokens @4 :UInt32;
  depth @5 :UInt32;
  ringKey @6 :Text;
  ringDigest @7 :Text;
  depthDigest @8 :Text;
  ringsAgreed @9 :Bool;
  candidates @10 :List(Estimate);
  chosen @11 :Text;
  backup @12 :Text;
  reason @13 :Text;
  migrations @14 :UInt32;
  retries @15 :UInt32;
  outcome @16 :Text;
  queuedMs @17 :Float64;
  ttftMs @18 :Float64;
  cachedTokens @19 :UInt32;
  handedTo @20 :Text;        # the node that places it; empty: the one that is asked
}

struct BeaconSeen {
  node @0 :Text;             # who wrote it
  value @1 :UInt64;
  atNs @2 :UInt64;           # CLOCK_MONOTONIC when this node's scheduler had it
}

struct KvStream {            # what one rank of an instance says of its cache (node/kv/kv_report.h)
  instance @0 :Text;
  rank @1 :UInt32;
  confidence @2 :Text;       # exact, degraded, unknown
  whyNotExact @3 :Text;
  blocks @4 :UInt64;
  unknownBlocks @5 :UInt64;  # of them, those whose tokens are not known
  epoch @6 :UInt64;          # the engine's life: about Unix time in microseconds; 0: nothing is known
  base @7 :UInt64;           # batches before it are lost; 0: complete
  end @8 :UInt64;            # batches known
  digestCount @9 :UInt64;
  digestSum @10 :UInt64;
  observers @11 :List(Text); # nodes that subscribe; the first tells the others
  observing @12 :Bool;       # this node does
  connected @13 :Bool;       # and reaches the engine
  blockTokens @14 :UInt32;
  eventsPerS @15 :Float64;   # block changes, whoever brought them
  bytesPerS @16 :Float64;    # from the engine
  changes @17 :UInt64;
  received @18 :List(Count); # by this node's own subscription
  lastRefusal @19 :Text;     # of something the engine sent
  events @20 :Text;          # this rank's endpoint
  replay @21 :Text;          # likewise; empty: it has none
  topic @22 :Text;
  remarks @23 :List(Text);   # what looks wrong with these, by this node's own subscription
  ratesKnown @24 :Bool;      # false: too early to tell eventsPerS and bytesPerS
}

struct KvPrediction {        # cached tokens as an instance reports them, beside those expected
  instance @0 :Text;
  requests @1 :UInt64;
  meanErrorTokens @2 :Float64;
  meanBiasTokens @3 :Float64;  # reported less expected
  mismatch @4 :Text;         # in words; empty: none found
}

struct KvStep {
  end @0 :UInt64;            # all batches up to it are in the index
  atNs @1 :UInt64;           # CLOCK_MONOTONIC of this host
}

struct Kv {
  streams @0 :List(KvStream);
  predictions @1 :List(KvPrediction);
  exchange @2 :List(Count);  # with the other nodes
  indexBlocks @3 :UInt64;
  indexBytes @4 :UInt64;
  depthLimit @5 :UInt32;     # blocks this deep are left out of the index; 4294967295: none is
  meshKnown @6 :Bool;        # every living node has said what it holds
}

enum InstanceAction { add @0; drain @1; resume @2; remove @3; }

interface Admin {
  status @0 () -> (status :Status);
  members @1 () -> (members :List(MemberInfo), partition :Text);  # as in Status
  instances @2 () -> (instances :List(InstanceInfo));
  changeInstance @3 (action :InstanceAction, name :Text, address :Text, models :List(Text),
                     weight :Float64, kvEvents :Text) -> (before :Text, kvEventsBefore :Text);
  # Fails with a description for people when the name, address or kvEvents is bad or unknown. `before` is the
  # lifecycle until now; empty: nobody knew it.
  # `kvEventsBefore`: likewise, of one that is not removed.
  policy @4 () -> (policy :Text, available :List(Text), perNode :List(NodePolicy));
  setPolicy @5 (policy :Text) -> ();
  rings @6 () -> (rings :Rings);
  replication @7 () -> (replication :Replication);
  rows @8 (kind :Mesh.StreamKind, origin :Mesh.Origin, buckets :Data) -> (rows :List(Row));
  # In order of keys, at most 20,000. `buckets`: bit i of byte j asks for the rows whose hash begins with
  # 8 j + i (crdt/state_digest.h); empty: all rows.
  explain @9 (path :Text, body :Data) -> (decision :Decision, hits :List(Estimate));
  # `body` is the JSON an OpenAI client would post to `path`.
  decisions @10 (last :UInt32, id :UInt64) -> (decisions :List(Decision));
  # The newest first. `id`: that one alone; 0: all.
  setBeacon @11 (value :UInt64) -> (atNs :UInt64);
  # Writes a number into this node's load stream as a request would write its load, for measuring.
  beacons @12 () -> (seen :List(BeaconSeen));
  metrics @13 () -> (text :Text);
  drain @14 () -> ();        # as SIGTERM
  bucketSums @15 (kind :Mesh.StreamKind, origin :Mesh.Origin) -> (sums :List(UInt64));
  # Of the stream's rows by the first byte of their hashes, 256 of them: unequal where two nodes differ.
  clientWeights @16 () -> (weights :Text, set :Text, configured :Text, tenants :List(Text),
                           keys :List(UInt64), anybody :Bool);
  # #KEY=WEIGHT,... by key, a hash of the client's name; who is not listed has weight 1. In effect; of them, those
  # set for the whole mesh; those of this node's configuration, which count for all others. Whom this node knows:
  # its tenants by name, keys of API keys without one, and anybody where no key is asked for.
  setClientWeights @17 (weights :Text, cleared :List(UInt64), clearAll :Bool) -> ();
  # First clears those of some, or of all.

  kv @18 (instance :Text) -> (kv :Kv);
  # Of one instance, of one rank of it (INSTANCE/RANK), or of all when it is empty.
  kvBlocks @19 (instance :Text, rank :UInt32, buckets :Data)
      -> (sums :List(UInt64), rows :List(Row), epoch :UInt64, end :UInt64);
  # As bucketSums and rows, of the blocks of one stream, by the engine's hashes; epoch 0: not known here.

  kvSteps @20 (instance :Text, rank :UInt32) -> (steps :List(KvStep));
  # When this node's index had which batches of a stream, for measuring. Noted from the first question on, for a
  # minute after the last.

  struct NodePolicy {
    name @0 :Text;
    policy @1 :Text;
  }
}
