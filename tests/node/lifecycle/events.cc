#include "tests/node/lifecycle/events.h"

#include <algorithm>
#include <sstream>

#include "tests/node/lifecycle/test_clock.h"

namespace dualmesh::node::testing {
namespace {

using Kind = Event::Kind;
using policies::Lifecycle;

constexpr int kFewBytes = 4096;

const std::vector<std::pair<Kind, std::string>>& names() {
  static const std::vector<std::pair<Kind, std::string>> all = {
      {Kind::ask, "ask"},
      {Kind::ask_partly, "ask_partly"},
      {Kind::ask_rest, "ask_rest"},
      {Kind::leave, "leave"},
      {Kind::break_off, "break_off"},
      {Kind::stop_reading, "stop_reading"},
      {Kind::pipeline, "pipeline"},
      {Kind::answer_head, "answer_head"},
      {Kind::answer_piece, "answer_piece"},
      {Kind::answer_half_event, "answer_half_event"},
      {Kind::answer_end, "answer_end"},
      {Kind::answer_flood, "answer_flood"},
      {Kind::answer_busy, "answer_busy"},
      {Kind::answer_garbage, "answer_garbage"},
      {Kind::cut, "cut"},
      {Kind::close, "close"},
      {Kind::close_idle, "close_idle"},
      {Kind::refuse, "refuse"},
      {Kind::unhealthy, "unhealthy"},
      {Kind::healthy, "healthy"},
      {Kind::drain, "drain"},
      {Kind::remove, "remove"},
      {Kind::come_back, "come_back"},
      {Kind::pass_moment, "pass_moment"},
      {Kind::pass_long, "pass_long"},
      {Kind::drain_node, "drain_node"},
      {Kind::abort_all, "abort_all"},
      {Kind::stop, "stop"},
  };
  return all;
}

std::string chunk(const std::string& text) {
  return fmt::format("{:x}\r\n{}\r\n", text.size(), text);
}

// A whole answer in two pieces of JSON, a stream of events, or tokens.
std::string piece_of(const TestUpstream::Connection& to) {
  if (!to.tokenize) return to.streamed ? event("token") : R"({"choices":[]})";
  std::string tokens = R"({"tokens":[0)";
  for (int id = 1; id < 64; ++id) tokens += "," + std::to_string(id);
  return tokens + "]}";
}

void send_head(TestUpstream::Connection& to, bool by_peer) {
  if (to.head_sent) return;
  to.head_sent = true;
  std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: ";
  head += to.streamed ? "text/event-stream\r\n" : "application/json\r\n";
  if (by_peer) head += "x-dualmesh-instance: e0\r\n";
  to.socket.send(head + "\r\n");
}

void flood(World& world, const TestUpstream::Connection& to) {
  const std::string much = chunk(std::string(256 * 1024, 'x') + "\n\n");
  std::string_view rest = much;
  for (int stuck = 0; stuck < 3; world.quiet()) {
    if (!to.socket.is_open()) return;
    const std::size_t sent = to.socket.send(rest);
    rest.remove_prefix(sent);
    if (rest.empty()) rest = much;
    stuck = sent == 0 ? stuck + 1 : 0;
  }
}

void ask_partly(TestClientPeer& client) {
  const std::size_t head = client.request.find("\r\n\r\n") + 4;
  std::size_t until = head / 2;
  if (client.sent > 0) until = client.sent < head ? head : (head + client.request.size()) / 2;
  client.socket.send(std::string_view(client.request).substr(client.sent, until - client.sent));
  client.sent = until;
}

void happen_at_client(World& world, TestClientPeer& client, Kind kind) {
  if (!client.socket.is_open()) {
    client.socket = TestSocket::connect(world.host, world.router().port(), kFewBytes);
    client.received.clear();
    client.sent = 0;
    client.reads = true;
    ++client.connects;
  }
  switch (kind) {
    case Kind::ask_partly:
      return ask_partly(client);
    case Kind::pipeline:
      client.socket.send(client.request);
      return;
    case Kind::leave:
      return client.socket.close();
    case Kind::break_off:
      return client.socket.reset();
    case Kind::stop_reading:
      client.reads = false;
      return;
    default:
      client.socket.send(std::string_view(client.request).substr(client.sent));
      client.sent = client.request.size();
  }
}

void happen_upstream(World& world, std::size_t upstream, TestUpstream::Connection& to, Kind kind) {
  const auto finished = [&to] { to.number = 0; };
  switch (kind) {
    case Kind::cut:
      to.socket.reset();
      return finished();
    case Kind::close:
      to.socket.close();
      return finished();
    case Kind::answer_garbage:
      to.socket.send("%$!\r\n\r\n");
      return finished();
    case Kind::answer_busy:
      to.socket.send("HTTP/1.1 503 Busy\r\nContent-Length: 2\r\nRetry-After: 3\r\n\r\n{}");
      return finished();
    default:
      break;
  }
  send_head(to, upstream == World::kPeer);
  if (kind == Kind::answer_piece) to.socket.send(chunk(piece_of(to)));
  if (kind == Kind::answer_half_event) to.socket.send(chunk("data: {\"choi"));
  if (kind == Kind::answer_flood) flood(world, to);
  if (kind != Kind::answer_end) return;
  to.socket.send("0\r\n\r\n");
  finished();
}

void forget_closed(World& world) {
  for (TestUpstream& upstream : world.upstreams) {
    upstream.connections.remove_if([](const auto& one) { return !one.socket.is_open(); });
  }
}

std::size_t is_idle(const TestUpstream& upstream) {
  return static_cast<std::size_t>(std::count_if(upstream.connections.begin(),
                                                upstream.connections.end(),
                                                [](const auto& one) { return !one.is_due(); }));
}

void add_of_clients(const World& world, std::vector<Event>& all) {
  for (std::uint8_t who = 0; who < world.clients.size(); ++who) {
    const TestClientPeer& client = world.clients[who];
    const bool open = client.socket.is_open();
    const bool asks = open && client.sent > 0;
    const bool asked = asks && client.sent == client.request.size();
    const std::size_t head = client.request.find("\r\n\r\n") + 4;
    const bool may_begin =
        open ? !asks && client.reads : client.connects < world.connects && world.listening;
    if (may_begin) all.push_back({Kind::ask, who});
    const bool part_left =
        client.sent < head || (client.sent == head && head < client.request.size());
    if ((may_begin || (asks && !asked)) && part_left) all.push_back({Kind::ask_partly, who});
    if (asks && !asked) all.push_back({Kind::ask_rest, who});
    if (open) all.push_back({Kind::leave, who});
    if (asks) all.push_back({Kind::break_off, who});
    if (asked && client.reads) all.push_back({Kind::stop_reading, who});
  }
}

bool is_stuck(const World& world, const TestUpstream::Connection& one) {
  const auto client = static_cast<std::size_t>(one.prompt - 'a');
  return client < world.clients.size() && !world.clients[client].reads;
}

void add_of_upstreams(World& world, std::vector<Event>& all) {
  const auto due = world.due();
  for (std::uint8_t who = 0; who < due.size(); ++who) {
    const TestUpstream::Connection& one = *due[who].second;
    if (!one.head_sent) {
      all.push_back({Kind::answer_head, who});
      all.push_back({Kind::answer_busy, who});
    }
    all.push_back({Kind::answer_piece, who});
    if (one.streamed) all.push_back({Kind::answer_half_event, who});
    all.push_back({Kind::answer_end, who});
    if (one.streamed && is_stuck(world, one)) all.push_back({Kind::answer_flood, who});
    all.push_back({Kind::answer_garbage, who});
    all.push_back({Kind::cut, who});
    all.push_back({Kind::close, who});
  }
  for (std::uint8_t who = 0; who < world.upstreams.size(); ++who) {
    if (is_idle(world.upstreams[who]) > 0) all.push_back({Kind::close_idle, who});
    const bool used = who != World::kPeer || world.scene.peer;
    if (used && !world.upstreams[who].refuses()) all.push_back({Kind::refuse, who});
  }
}

void add_of_node(const World& world, std::vector<Event>& all) {
  for (std::uint8_t who = 0; who < World::kInstances; ++who) {
    all.push_back({world.is_healthy(who) ? Kind::unhealthy : Kind::healthy, who});
    const Lifecycle lifecycle = world.lifecycle[who];
    if (lifecycle == Lifecycle::active) all.push_back({Kind::drain, who});
    if (lifecycle != Lifecycle::removed) all.push_back({Kind::remove, who});
    if (lifecycle != Lifecycle::active) all.push_back({Kind::come_back, who});
  }
  all.push_back({Kind::pass_moment});
  all.push_back({Kind::pass_long});
  if (world.listening) all.push_back({Kind::drain_node});
  if (!world.aborted) all.push_back({Kind::abort_all});
  all.push_back({Kind::stop});
}

void happen_at_node(World& world, Kind kind, std::uint8_t who) {
  switch (kind) {
    case Kind::unhealthy:
      return world.set_healthy(who, false);
    case Kind::healthy:
      return world.set_healthy(who, true);
    case Kind::drain:
      return world.set_lifecycle(who, Lifecycle::draining);
    case Kind::remove:
      return world.set_lifecycle(who, Lifecycle::removed);
    case Kind::come_back:
      return world.set_lifecycle(who, Lifecycle::active);
    case Kind::pass_moment:
      return world.pass(std::chrono::milliseconds(100));
    case Kind::pass_long:
      // In parts, so that a time-out that is over first is told first.
      for (int part = 0; part < 3; ++part) world.pass(std::chrono::seconds(35));
      return;
    case Kind::drain_node:
      world.listening = false;
      return world.router().server.close_listener();
    case Kind::abort_all:
      world.aborted = true;
      return world.router().flow.abort_all();
    default:
      return;
  }
}

}  // namespace

std::string to_string(const Event& event) {
  const auto named = std::find_if(names().begin(), names().end(),
                                  [&](const auto& one) { return one.first == event.kind; });
  const bool of_node = event.kind >= Kind::pass_moment;
  return of_node ? named->second : named->second + ":" + std::to_string(event.who);
}

std::vector<Event> events_of(const std::string& text) {
  std::vector<Event> events;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::size_t colon = word.find(':');
    const std::string name = word.substr(0, colon);
    const auto named = std::find_if(names().begin(), names().end(),
                                    [&](const auto& one) { return one.second == name; });
    DUALMESH_CHECK(named != names().end(), "{} is no event", word);
    const auto who = colon == std::string::npos ? 0 : std::stoi(word.substr(colon + 1));
    events.push_back({named->first, static_cast<std::uint8_t>(who)});
  }
  return events;
}

std::vector<Event> possible(World& world) {
  std::vector<Event> all;
  add_of_clients(world, all);
  add_of_upstreams(world, all);
  add_of_node(world, all);
  return all;
}

bool is_possible(World& world, const Event& event) {
  if (event.kind == Kind::pipeline) return world.clients.at(event.who).socket.is_open();
  const std::vector<Event> all = possible(world);
  return std::find(all.begin(), all.end(), event) != all.end();
}

void happen(World& world, const Event& event) {
  move_clock(std::chrono::milliseconds(1));
  if (event.kind <= Kind::pipeline) {
    happen_at_client(world, world.clients[event.who], event.kind);
  } else if (event.kind <= Kind::close) {
    const auto due = world.due();
    happen_upstream(world, due[event.who].first, *due[event.who].second, event.kind);
  } else if (event.kind == Kind::close_idle) {
    world.upstreams[event.who].connections.remove_if([](const auto& one) { return !one.is_due(); });
  } else if (event.kind == Kind::refuse) {
    world.upstreams[event.who].refuse();
  } else {
    happen_at_node(world, event.kind, event.who);
  }
  forget_closed(world);
  world.quiet();
}

}  // namespace dualmesh::node::testing
