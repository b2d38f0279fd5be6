// One client connection of the load: kept alive, one request at a time.
#pragma once

#include <netinet/in.h>

#include <string>
#include <string_view>
#include <vector>

#include "tests/bench/front/answer_reader.h"
#include "tests/bench/front/event_loop.h"

namespace dualmesh::bench {

// HOST:PORT with an IPv4 address; throws with a text that says so.
sockaddr_in parse_address(const std::string& text);

class Client final : public EventLoop::Handler {
 public:
  // Hears of its clients; may let them send again from within.
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void answered(Client& client) = 0;
    // Nobody can be reached, or the connection ended inside an answer or before it (`busy`) or
    // while idle.
    virtual void broken(Client& client, const char* why, bool busy) = 0;
    virtual void woken(Client& /*client*/) {}
    std::vector<std::int32_t> event_delays_us;
  };

  Client(EventLoop& loop, Owner& owner, const sockaddr_in& to, std::size_t number)
      : number(number), loop_(loop), owner_(owner), to_(to) {}

  void open();
  void close(bool reset = false);
  bool is_open() const { return socket_ >= 0; }
  bool busy() const { return busy_; }

  // `request` must stay; `began_us` is when it was meant to be sent. A `part` of it may be sent
  // alone.
  void send(std::string_view request, std::int64_t began_us);
  void wake_at(std::int64_t time_us);  // owner.woken(), unless it is asked for again before

  const AnswerReader& answer() const { return answer_; }
  std::int64_t began_us() const { return began_us_; }

  void ready(std::uint32_t events) override;
  void due(std::uint32_t ticket) override;

  const std::size_t number;

 private:
  void write();
  void read();
  void broke(const char* why);

  EventLoop& loop_;
  Owner& owner_;
  sockaddr_in to_;
  int socket_ = -1;
  bool busy_ = false, waits_for_room_ = false;
  std::int64_t began_us_ = 0;
  std::string_view unsent_;
  AnswerReader answer_;
  std::uint32_t ticket_ = 0;
};

}  // namespace dualmesh::bench
