// Discovery: looks up DNS names again and again, for other nodes and for instances.
//
// A name's A and AAAA records are passed on whole each time. An empty or failed look-up passes on
// nothing, so nobody is removed because a name server is down; it is logged when it begins and when
// it ends.
//
// Threads: everything on the I/O thread given, start() from any.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "net/destination.h"
#include "net/io_threads.h"

namespace dualmesh::node {

class Discovery {
 public:
  // The rule by which a look-up becomes news; apart from the network, so that it can be tested.
  class Changes {
   public:
    // What to log, or nothing when it is as before. `addresses` is sorted on return.
    std::string note(std::vector<std::string>& addresses, const std::string& why);

   private:
    bool first_ = true;
    std::vector<std::string> last_;
  };

  using Found = std::function<void(std::vector<std::string> addresses)>;
  Discovery(net::IoThread& thread, std::string what, net::HostPort name,
            std::chrono::seconds interval, Found found);
  void start();

 private:
  void look_up();

  net::IoThread& thread_;
  const std::string what_;
  const net::HostPort name_;
  const std::chrono::seconds interval_;
  const Found found_;
  Changes changes_;
  net::IoThread::Timer timer_;
};

}  // namespace dualmesh::node
