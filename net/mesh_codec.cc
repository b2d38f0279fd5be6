#include "net/mesh_codec.h"

#include <kj/exception.h>

#include <algorithm>
#include <utility>

namespace dualmesh::net {
namespace {

// Thrown inside the read functions only, to leave nested loops; never crosses this file.
struct Malformed {
  std::string what;
};

void require(bool condition, const char* what) {
  if (!condition) throw Malformed{what};
}

std::string bounded(capnp::Text::Reader text, std::size_t limit, const char* what) {
  require(text.size() <= limit, what);
  return std::string(text.begin(), text.size());
}

// Of a node: logs and terminals show them.
std::string printable(capnp::Text::Reader text, std::size_t limit, const char* too_long) {
  std::string taken = bounded(text, limit, too_long);
  const bool control = std::any_of(taken.begin(), taken.end(), [](char c) {
    return static_cast<unsigned char>(c) < ' ' || c == 0x7f;
  });
  require(!control, "a control character in a node's name, address or build");
  return taken;
}

// With its length: kj's own conversion stops at the first zero byte, and replicas would differ.
capnp::Text::Reader whole(const std::string& text) { return {text.data(), text.size()}; }

crdt::Version version(std::uint64_t value) { return crdt::Version{value}; }

template <class List>
std::size_t row_count(const List& rows) {
  require(rows.size() <= CodecLimits::kRows, "too many rows in a delta");
  return rows.size();
}

crdt::Stamp to_stamp(wire::Stamp::Reader in) {
  return crdt::Stamp{in.getTime(), crdt::NodeId{in.getWriter()}};
}

void from_stamp(crdt::Stamp stamp, wire::Stamp::Builder out) {
  out.setTime(stamp.time);
  out.setWriter(stamp.writer.value);
}

// One overload of `read_row` and `write_row` per row type; the delta loops below are generic.

void write_row(const MembershipTable::Entry& row, wire::Member::Builder out) {
  write_member(row.key, row.value, out);
}

MembershipTable::Entry read_row(wire::Member::Reader in) {
  require(in.getStatus() <= static_cast<std::uint8_t>(crdt::MemberStatus::left), "member status");
  require(in.getNode() != 0, "a member without an id");
  MembershipTable::Entry row;
  row.key = crdt::NodeId{in.getNode()};
  row.value.epoch = crdt::Epoch{in.getEpoch()};
  row.value.refutations = in.getRefutations();
  row.value.status = static_cast<crdt::MemberStatus>(in.getStatus());
  row.value.name = printable(in.getName(), CodecLimits::kNameBytes, "member name too long");
  row.value.mesh_address =
      printable(in.getMeshAddress(), CodecLimits::kTextBytes, "address too long");
  row.value.http_address =
      printable(in.getHttpAddress(), CodecLimits::kTextBytes, "address too long");
  row.value.build = printable(in.getBuild(), CodecLimits::kTextBytes, "build id too long");
  return row;
}

void write_row(const RegistryTable::Entry& row, wire::RegistryField::Builder out) {
  out.setInstance(whole(row.key.instance));
  out.setField(row.key.field);
  from_stamp(row.value.stamp, out.initStamp());
  out.setValue(whole(row.value.value));
}

RegistryTable::Entry read_row(wire::RegistryField::Reader in) {
  RegistryTable::Entry row;
  row.key.instance = bounded(in.getInstance(), CodecLimits::kNameBytes, "instance name too long");
  require(!row.key.instance.empty(), "instance without a name");
  row.key.field = in.getField();
  row.value.stamp = to_stamp(in.getStamp());
  row.value.value = bounded(in.getValue(), CodecLimits::kTextBytes, "instance field too long");
  return row;
}

void write_row(const SettingsTable::Entry& row, wire::Setting::Builder out) {
  out.setKey(whole(row.key.name));
  auto siblings = out.initSiblings(static_cast<unsigned>(row.value.siblings().size()));
  for (unsigned i = 0; i < siblings.size(); ++i) {
    from_stamp(row.value.siblings()[i].dot, siblings[i].initDot());
    siblings[i].setValue(whole(row.value.siblings()[i].value));
  }
  auto seen = out.initSeen(static_cast<unsigned>(row.value.seen().size()));
  unsigned i = 0;
  for (const auto& [writer, time] : row.value.seen()) {
    from_stamp(crdt::Stamp{time, writer}, seen[i++]);
  }
}

SettingsTable::Entry read_row(wire::Setting::Reader in) {
  using Value = crdt::MultiValue<std::string>;
  require(in.getSiblings().size() <= CodecLimits::kSiblings, "too many concurrent settings");
  require(in.getSeen().size() <= CodecLimits::kSettingWriters, "too many setting writers");
  boost::container::small_vector<Value::Sibling, 1> siblings;
  for (auto sibling : in.getSiblings()) {
    siblings.push_back({to_stamp(sibling.getDot()),
                        bounded(sibling.getValue(), CodecLimits::kTextBytes, "setting too long")});
  }
  // Ordered first: one by one into their places they would cost the square of their number.
  std::vector<std::pair<crdt::NodeId, std::uint64_t>> stamps;
  stamps.reserve(in.getSeen().size());
  for (auto stamp : in.getSeen()) {
    stamps.emplace_back(crdt::NodeId{stamp.getWriter()}, stamp.getTime());
  }
  std::sort(stamps.begin(), stamps.end());
  Value::Seen seen;
  seen.reserve(stamps.size());
  for (const auto& [writer, time] : stamps) seen.insert_or_assign(seen.end(), writer, time);
  SettingsTable::Entry row;
  row.key.name = bounded(in.getKey(), CodecLimits::kNameBytes, "setting name too long");
  row.value = Value::restore(std::move(siblings), std::move(seen));
  return row;
}

void write_row(const DepthTable::Entry& row, wire::DepthMark::Builder out) {
  out.setBucket(row.key.bucket);
  out.setKey(row.key.prefix);
  out.setDeeper(row.value.value);
}

DepthTable::Entry read_row(wire::DepthMark::Reader in) {
  return {DepthKey{in.getBucket(), in.getKey()}, crdt::Max<std::uint32_t>{in.getDeeper()}};
}

void write_row(const LoadFeed::Entry& row, wire::LoadRow::Builder out) {
  out.setInstance(row.key);
  out.setVersion(row.version.value);
  out.setDeleted(!row.value);
  if (!row.value) return;
  out.setQueuedRequests(row.value->queued_requests);
  out.setPrefillingRequests(row.value->prefilling_requests);
  out.setDecodingRequests(row.value->decoding_requests);
  out.setQueuedTokens(row.value->queued_tokens);
  out.setPrefillingTokens(row.value->prefilling_tokens);
  out.setDecodingTokens(row.value->decoding_tokens);
  out.setHeadWaitMs(row.value->head_wait_ms);
  out.setPrefillLeftMs(row.value->prefill_left_ms);
  auto waiting = out.initWaiting(static_cast<unsigned>(row.value->waiting.size()));
  for (unsigned i = 0; i < waiting.size(); ++i) {
    waiting[i].setSlackMs(row.value->waiting[i].slack_ms);
    waiting[i].setTokens(row.value->waiting[i].tokens);
  }
}

LoadFeed::Entry read_row(wire::LoadRow::Reader in) {
  LoadFeed::Entry row{in.getInstance(), version(in.getVersion()), std::nullopt};
  if (in.getDeleted()) return row;
  row.value =
      LoadGauges{in.getQueuedRequests(), in.getPrefillingRequests(), in.getDecodingRequests(),
                 in.getQueuedTokens(),   in.getPrefillingTokens(),   in.getDecodingTokens(),
                 in.getHeadWaitMs(),     in.getPrefillLeftMs(),      {}};
  // A newer node may tell more of them than we listen to.
  for (const auto one : in.getWaiting()) {
    if (row.value->waiting.size() == kMaxWaitingRows) break;
    row.value->waiting.push_back({one.getSlackMs(), one.getTokens()});
  }
  return row;
}

void write_row(const HealthFeed::Entry& row, wire::HealthRow::Builder out) {
  out.setInstance(row.key);
  out.setVersion(row.version.value);
  out.setDeleted(!row.value);
  if (row.value) out.setHealthy(row.value->healthy);
}

HealthFeed::Entry read_row(wire::HealthRow::Reader in) {
  HealthFeed::Entry row{in.getInstance(), version(in.getVersion()), std::nullopt};
  if (!in.getDeleted()) row.value = ProbedHealth{in.getHealthy()};
  return row;
}

void write_row(const StatusFeed::Entry& row, wire::StatusRow::Builder out) {
  out.setKey(row.key);
  out.setVersion(row.version.value);
  if (row.value) out.setValue(row.value->value);
}

StatusFeed::Entry read_row(wire::StatusRow::Reader in) {
  return {in.getKey(), version(in.getVersion()), StatusNumber{in.getValue()}};
}

template <class Entries, class Rows>
void write_rows(const Entries& entries, Rows rows) {
  unsigned i = 0;
  for (const auto& entry : entries) write_row(entry, rows[i++]);
}

template <class Entry, class Rows>
std::vector<Entry> read_rows(Rows rows) {
  std::vector<Entry> entries;
  entries.reserve(row_count(rows));
  for (auto row : rows) entries.push_back(read_row(row));
  return entries;
}

template <class Delta>
void write_range(const Delta& delta, wire::Delta::Builder out) {
  out.setFrom(delta.from_excluded.value);
  out.setTo(delta.to.value);
  if constexpr (requires { delta.collected; }) out.setHorizon(delta.collected.value);
  if constexpr (requires { delta.cut; }) out.setCut(delta.cut);
  if constexpr (requires { delta.floor; }) out.setHorizon(delta.floor.value);
}

template <class Table, class Rows>
DeltaBody read_table(wire::Delta::Reader in, Rows rows) {
  return typename Table::Delta{version(in.getFrom()), version(in.getTo()),
                               read_rows<typename Table::Entry>(rows)};
}

template <class Feed, class Rows>
DeltaBody read_feed(wire::Delta::Reader in, Rows rows) {
  return typename Feed::Delta{version(in.getFrom()), version(in.getTo()), version(in.getHorizon()),
                              read_rows<typename Feed::Entry>(rows), in.getCut()};
}

DeltaBody read_residency(wire::Delta::Reader in) {
  auto rows = in.getResidency();
  auto versions = in.getResidencyVersions();
  require(rows.size() == versions.size(), "placements and versions differ in number");
  ResidencyFeed::Delta delta{
      version(in.getFrom()), version(in.getTo()), version(in.getHorizon()), {}};
  delta.entries.reserve(row_count(rows));
  for (unsigned i = 0; i < rows.size(); ++i) {
    delta.entries.push_back(
        {PlacementKey{rows[i].getInstance(), rows[i].getBlock()}, version(versions[i])});
  }
  return delta;
}

DeltaBody read_body(wire::Delta::Reader in) {
  switch (in.which()) {
    case wire::Delta::MEMBERSHIP:
      return read_table<MembershipTable>(in, in.getMembership());
    case wire::Delta::REGISTRY:
      return read_table<RegistryTable>(in, in.getRegistry());
    case wire::Delta::SETTINGS:
      return read_table<SettingsTable>(in, in.getSettings());
    case wire::Delta::DEPTH:
      return read_table<DepthTable>(in, in.getDepth());
    case wire::Delta::LOAD:
      return read_feed<LoadFeed>(in, in.getLoad());
    case wire::Delta::HEALTH:
      return read_feed<HealthFeed>(in, in.getHealth());
    case wire::Delta::STATUS:
      return read_feed<StatusFeed>(in, in.getStatus());
    case wire::Delta::RESIDENCY:
      return read_residency(in);
  }
  throw Malformed{"unknown kind of rows"};
}

struct BodyWriter {
  wire::Delta::Builder out;

  template <class Delta>
  unsigned begin(const Delta& delta) {
    write_range(delta, out);
    return static_cast<unsigned>(delta.entries.size());
  }
  void operator()(const MembershipTable::Delta& d) {
    write_rows(d.entries, out.initMembership(begin(d)));
  }
  void operator()(const RegistryTable::Delta& d) {
    write_rows(d.entries, out.initRegistry(begin(d)));
  }
  void operator()(const SettingsTable::Delta& d) {
    write_rows(d.entries, out.initSettings(begin(d)));
  }
  void operator()(const DepthTable::Delta& d) { write_rows(d.entries, out.initDepth(begin(d))); }
  void operator()(const LoadFeed::Delta& d) { write_rows(d.entries, out.initLoad(begin(d))); }
  void operator()(const HealthFeed::Delta& d) { write_rows(d.entries, out.initHealth(begin(d))); }
  void operator()(const StatusFeed::Delta& d) { write_rows(d.entries, out.initStatus(begin(d))); }
  void operator()(const ResidencyFeed::Delta& d) {
    const unsigned count = begin(d);
    auto rows = out.initResidency(count);
    auto versions = out.initResidencyVersions(count);
    for (unsigned i = 0; i < count; ++i) {
      rows[i].setInstance(d.entries[i].key.instance);
      rows[i].setBlock(d.entries[i].key.block);
      versions.set(i, d.entries[i].version.value);
    }
  }
};

// Runs `read` and turns both kinds of rejection, ours and Cap'n Proto's, into an Error.
template <class Read>
auto guarded(const char* what, Read&& read) -> Result<decltype(read())> {
  try {
    return read();
  } catch (const Malformed& malformed) {
    return Error{std::string(what) + ": " + malformed.what};
  } catch (const kj::Exception& exception) {
    return Error{std::string(what) + ": " + exception.getDescription().cStr()};
  }
}

}  // namespace

void write_member(crdt::NodeId node, const crdt::Member& member, wire::Member::Builder out) {
  out.setNode(node.value);
  out.setEpoch(member.epoch.value);
  out.setRefutations(member.refutations);
  out.setStatus(static_cast<std::uint8_t>(member.status));
  out.setName(whole(member.name));
  out.setMeshAddress(whole(member.mesh_address));
  out.setHttpAddress(whole(member.http_address));
  out.setBuild(whole(member.build));
}

Result<MembershipTable::Entry> read_member(wire::Member::Reader in) {
  return guarded("member", [&] { return read_row(in); });
}

void write_delta(const StreamDelta& delta, wire::Delta::Builder out) {
  out.setKind(static_cast<wire::StreamKind>(delta.kind()));
  out.initOrigin().setNode(delta.origin.node.value);
  out.getOrigin().setEpoch(delta.origin.epoch.value);
  std::visit(BodyWriter{out}, delta.body);
}

Result<StreamDelta> read_delta(wire::Delta::Reader in) {
  return guarded("delta", [&] {
    StreamDelta delta{
        {crdt::NodeId{in.getOrigin().getNode()}, crdt::Epoch{in.getOrigin().getEpoch()}},
        read_body(in)};
    require(static_cast<std::uint16_t>(in.getKind()) == static_cast<std::uint16_t>(delta.kind()),
            "kind and rows differ");
    return delta;
  });
}

void write_registry(const std::vector<RegistryTable::Entry>& rows,
                    capnp::List<wire::RegistryField>::Builder out) {
  write_rows(rows, out);
}

Result<std::vector<RegistryTable::Entry>> read_registry(
    capnp::List<wire::RegistryField>::Reader rows) {
  return guarded("registry", [&] { return read_rows<RegistryTable::Entry>(rows); });
}

Result<std::vector<StreamPosition>> read_positions(
    capnp::List<wire::StreamPosition>::Reader positions) {
  return guarded("positions", [&] {
    require(positions.size() <= CodecLimits::kPositions, "too many");
    std::vector<StreamPosition> out;
    out.reserve(positions.size());
    for (auto in : positions) {
      const auto kind = static_cast<std::uint16_t>(in.getKind());
      if (kind >= kStreamKinds) continue;  // of a newer node
      out.push_back(
          {static_cast<StreamKind>(kind),
           {crdt::NodeId{in.getOrigin().getNode()}, crdt::Epoch{in.getOrigin().getEpoch()}},
           version(in.getVersion()),
           {in.getCount(), in.getSum()},
           in.getPartial()});
    }
    return out;
  });
}

void write_saved(const RegistryTable& registry, const SettingsTable& settings,
                 wire::SavedState::Builder out) {
  const auto fields = registry.delta_since(crdt::Version{}, registry.size() + 1);
  const auto values = settings.delta_since(crdt::Version{}, settings.size() + 1);
  write_rows(fields.entries, out.initRegistry(static_cast<unsigned>(fields.entries.size())));
  write_rows(values.entries, out.initSettings(static_cast<unsigned>(values.entries.size())));
}

Result<SavedTables> read_saved(wire::SavedState::Reader in) {
  return guarded("saved state", [&] {
    SavedTables saved;
    saved.registry.entries = read_rows<RegistryTable::Entry>(in.getRegistry());
    saved.settings.entries = read_rows<SettingsTable::Entry>(in.getSettings());
    return saved;
  });
}

}  // namespace dualmesh::net
