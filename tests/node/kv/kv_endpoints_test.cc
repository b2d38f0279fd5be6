#include "node/kv/kv_endpoints.h"

#include <doctest/doctest.h>

#include <string>

using namespace dualmesh::node;

namespace {

KvEndpoints accepted(const std::string& text) {
  const auto result = parse_kv_endpoints(text);
  REQUIRE_MESSAGE(result.has_value(), text, ": ", result.error().message);
  CHECK(*parse_kv_endpoints(print(*result)) == *result);
  return *result;
}

std::string refused(const std::string& text) {
  const auto result = parse_kv_endpoints(text);
  REQUIRE_MESSAGE(result.has_error(), text);
  return result.error().message;
}

bool names(const std::string& error, const std::string& part) {
  return error.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an address alone is one rank without replay") {
  CHECK(accepted("tcp://gpu-1:5557") == KvEndpoints{"tcp://gpu-1:5557", "", "", 1});
  CHECK(print(accepted("tcp://gpu-1:5557")) == "tcp://gpu-1:5557");
}

TEST_CASE("all parts, in any order") {
  const KvEndpoints all{"tcp://10.0.0.1:5557", "tcp://10.0.0.1:5657", "kv@", 8};
  CHECK(accepted("tcp://10.0.0.1:5557,replay=tcp://10.0.0.1:5657,ranks=8,topic=kv@") == all);
  CHECK(accepted("tcp://10.0.0.1:5557,topic=kv@,ranks=8,replay=tcp://10.0.0.1:5657") == all);
  CHECK(accepted("tcp://h:1,topic=").topic.empty());
  CHECK(accepted("tcp://h:1,topic=a=b").topic == "a=b");
}

TEST_CASE("a rank's address counts the port up, for IPv6 too") {
  CHECK(endpoint_of_rank("tcp://h:5557", 0) == "tcp://h:5557");
  CHECK(endpoint_of_rank("tcp://h:5557", 7) == "tcp://h:5564");
  CHECK(endpoint_of_rank("tcp://[fd00::1]:5557", 2) == "tcp://[fd00::1]:5559");
  CHECK(endpoint_of_rank("ipc:///run/kv", 0) == "ipc:///run/kv");
}

TEST_CASE("ipc serves rank 0 alone") {
  CHECK(accepted("ipc:///run/kv,replay=ipc:///run/kv-replay").replay == "ipc:///run/kv-replay");
  CHECK(names(refused("ipc:///run/kv,ranks=2"), "rank 0 alone"));
  CHECK(names(refused("tcp://h:1,replay=ipc:///run/kv,ranks=2"), "ipc:///run/kv"));
  CHECK(names(refused("ipc://"), "path"));
  CHECK(names(refused("ipc://" + std::string(108, 'a')), "107"));
}

TEST_CASE("what cannot be dialled is refused with the part and what is allowed") {
  for (const char* text : {"", "gpu-1:5557", "http://h:1", "tcp://h", "tcp://h:0", "tcp://h:65536",
                           "tcp://fd00::1:5557", "tcp://h:1 ", "inproc://x"}) {
    CAPTURE(text);
    CHECK(names(refused(text), "events"));
    CHECK(names(refused(text), "tcp://HOST:PORT"));
  }
  CHECK(names(refused("tcp://*:5557"), "dialled"));
  CHECK(names(refused("tcp://0.0.0.0:5557"), "dialled"));
  CHECK(names(refused("tcp://[::]:5557"), "dialled"));
  CHECK(names(refused("tcp://eth0;h:5557"), "dialled"));
  CHECK(names(refused("tcp://h:1,replay=h:2"), "replay 'h:2'"));
}

TEST_CASE("options are named once, known, and in range") {
  for (const char* ranks : {"", "0", "65", "-1", "1x", "99999999999"}) {
    CHECK(names(refused(std::string("tcp://h:1,ranks=") + ranks), "from 1 to 64"));
  }
  CHECK(accepted("tcp://h:1,ranks=64").ranks == 64);
  CHECK(names(refused("tcp://h:1,rank=2"), "'rank'"));
  CHECK(names(refused("tcp://h:1,ranks=2,ranks=2"), "twice"));
  CHECK(names(refused("tcp://h:1,"), "comma"));
  CHECK(names(refused("tcp://h:1,,ranks=2"), "''"));
  CHECK(names(refused("tcp://h:1,topic=" + std::string(129, 'a')), "128"));
}

TEST_CASE("ports of all ranks exist and do not meet") {
  CHECK(accepted("tcp://h:65534,ranks=2").ranks == 2);
  CHECK(names(refused("tcp://h:65534,ranks=3"), "65535"));
  CHECK(names(refused("tcp://h:1,replay=tcp://h:65535,ranks=2"), "65535"));
  CHECK(names(refused("tcp://h:5556,replay=tcp://h:5557,ranks=2"), "at least 2 apart"));
  CHECK(names(refused("tcp://h:5557,replay=tcp://h:5556,ranks=2"), "at least 2 apart"));
  CHECK(names(refused("tcp://h:5557,replay=tcp://h:5557"), "another"));
  CHECK(accepted("tcp://h:5556,replay=tcp://h:5558,ranks=2").ranks == 2);
  CHECK(accepted("tcp://h:5556,replay=tcp://other:5557,ranks=2").ranks == 2);
}

TEST_CASE("an address is one instance's, unless topics tell several apart") {
  const auto clash = [](const std::string& first, const std::string& second) {
    KvAddresses heard;
    REQUIRE_FALSE(heard.add("a", accepted(first)).has_value());
    REQUIRE_FALSE(heard.add("a", accepted(first)).has_value());  // of one name
    const auto found = heard.add("b", accepted(second));
    if (found) CHECK(found->other == "a");
    return found ? found->address : "";
  };
  CHECK(clash("tcp://h:1", "tcp://h:1") == "tcp://h:1");
  CHECK(clash("tcp://h:1", "tcp://g:1") == "");
  CHECK(clash("tcp://h:1,ranks=4", "tcp://h:4") == "tcp://h:4");
  CHECK(clash("tcp://h:1,ranks=4", "tcp://h:5,ranks=4") == "");
  CHECK(clash("tcp://h:1,replay=tcp://h:11", "tcp://h:2,replay=tcp://h:11") == "tcp://h:11");
  CHECK(clash("tcp://h:1,replay=tcp://h:11", "tcp://h:11") == "tcp://h:11");
  CHECK(clash("tcp://h:1,topic=kv@a", "tcp://h:1,topic=kv@b") == "");
  CHECK(clash("tcp://h:1,topic=kv", "tcp://h:1,topic=kv@b") == "tcp://h:1");
  CHECK(clash("tcp://h:1,topic=kv", "tcp://h:1") == "tcp://h:1");
  CHECK(clash("ipc:///s", "ipc:///s") == "ipc:///s");
}

TEST_CASE("what is wrong with one address of two instances is said as it is") {
  const auto why = [](const std::string& first, const std::string& second) {
    KvAddresses heard;
    heard.add("a", accepted(first));
    const auto found = heard.add("b", accepted(second));
    REQUIRE(found.has_value());
    return std::string(found->why);
  };
  CHECK(names(why("tcp://h:1,topic=kv", "tcp://h:1"), "topics that tell them apart"));
  CHECK(names(why("tcp://h:1,topic=kv@a,replay=tcp://h:2", "tcp://h:1,topic=kv@b,replay=tcp://h:2"),
              "one replay address cannot serve two instances"));
  CHECK(names(why("tcp://h:1,replay=tcp://h:11", "tcp://h:11"), "the other asked for replay"));
}
