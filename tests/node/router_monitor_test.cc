// Health and model discovery against scripted instances, by what the hooks are told.
#include <doctest/doctest.h>

#include <map>

#include "node/router/instance_monitor.h"
#include "tests/node/router_support.h"

using namespace dualmesh;
using namespace dualmesh::node;
using namespace dualmesh::node::testing;

namespace {

struct Watching {
  explicit Watching(InstanceMonitor::Settings settings)
      : monitor(threads.at(0), settings,
                {[this](policies::Slot slot, bool healthy) {
                   const std::lock_guard lock(mutex);
                   verdicts[slot].push_back(healthy);
                 },
                 [this](policies::Slot) { ++caches_lost; },
                 [this](const std::string& instance, std::vector<std::string> models) {
                   const std::lock_guard lock(mutex);
                   found[instance] = std::move(models);
                 },
                 [this](ModelKinds told) {
                   const std::lock_guard lock(mutex);
                   kinds.push_back(std::move(told));
                 }}) {}
  ~Watching() { threads.stop(); }

  std::vector<bool> told(policies::Slot slot) {
    const std::lock_guard lock(mutex);
    return verdicts[slot];
  }
  std::vector<std::string> models_of(const std::string& instance) {
    const std::lock_guard lock(mutex);
    return found[instance];
  }

  net::IoThreads threads{1};
  std::mutex mutex;
  std::map<policies::Slot, std::vector<bool>> verdicts;
  std::map<std::string, std::vector<std::string>> found;
  std::vector<ModelKinds> kinds;
  std::atomic<int> caches_lost{0};
  InstanceMonitor monitor;
};

InstanceMonitor::Settings quick() {
  InstanceMonitor::Settings settings;
  settings.probe_interval = std::chrono::milliseconds(20);
  settings.probe_timeout = std::chrono::milliseconds(2'000);
  settings.models_interval = std::chrono::milliseconds(50);
  return settings;
}

// Answers /health with `status` and /v1/models with `models`.
struct Scripted {
  std::atomic<int> status{200};
  std::mutex mutex;
  std::string models = R"({"object":"list","data":[{"id":"b"},{"id":"a"},{"id":"a"}]})";

  FakeInstance::Script script() {
    return [this](std::shared_ptr<net::Exchange> exchange) {
      if (exchange->request().target == "/health") {
        answer_json(*exchange, status.load(), "");
        return;
      }
      const std::lock_guard lock(mutex);
      answer_json(*exchange, 200, models);
    };
  }
};

using Verdicts = std::vector<bool>;

}  // namespace

TEST_CASE("health: told at first sight, after the misses, and after the recovery") {
  Scripted scripted;
  FakeInstance one(scripted.script());
  Watching watching(quick());
  watching.monitor.set_view(make_view({{"e1", one.address(), {"a", "b"}}}));
  CHECK(eventually([&] { return watching.told(0) == Verdicts{true}; }));
  CHECK(eventually([&] { return one.requests() > 4; }));
  CHECK(watching.told(0) == Verdicts{true});

  scripted.status = 503;
  CHECK(eventually([&] { return watching.told(0) == Verdicts{true, false}; }));
  CHECK(!watching.monitor.facts(0).healthy);
  CHECK(watching.monitor.facts(0).unhealthy_reason == "GET /health: status 503");
  CHECK(watching.caches_lost == 0);

  scripted.status = 404;  // a server without /health is alive
  CHECK(eventually([&] { return watching.told(0) == Verdicts{true, false, true}; }));
  CHECK(watching.caches_lost == 1);
  CHECK(watching.monitor.facts(0).healthy);
}

TEST_CASE("an instance that does not tell its models is shown with the reason") {
  std::atomic<int> status{401};
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) {
    if (exchange->request().target == "/health") return answer_json(*exchange, 200, "");
    answer_json(*exchange, status.load(), status == 200 ? R"({"data":[{"id":"a"}]})" : "");
  });
  Watching watching(quick());
  watching.monitor.set_view(make_view({{"e1", one.address(), {}}}));
  const auto reason = [&] { return watching.monitor.facts(0).unhealthy_reason; };
  CHECK(eventually([&] { return reason() == "GET /v1/models: status 401"; }));
  CHECK(watching.monitor.facts(0).healthy);
  status = 200;
  CHECK(eventually([&] { return reason().empty(); }));
}

TEST_CASE("that nobody is there is seen by traffic at once; what else it sees is not for probes") {
  Scripted scripted;
  FakeInstance one(scripted.script());
  auto settings = quick();
  settings.probe_interval = std::chrono::hours(1);  // probes keep out of it
  Watching watching(settings);
  watching.monitor.set_view(
      make_view({{"e1", one.address(), {"a", "b"}}, {"e2", one.address(), {"a", "b"}}}));
  REQUIRE(eventually([&] { return watching.told(1) == Verdicts{true}; }));
  for (int i = 0; i < 9; ++i) watching.monitor.failed(0, net::ClientError::send);
  CHECK(watching.told(0) == Verdicts{true});
  watching.monitor.failed(1, net::ClientError::connect);
  CHECK(watching.told(1) == Verdicts{true, false});
  CHECK(watching.monitor.facts(1).unhealthy_reason == "request: connect");
  watching.monitor.failed(7, net::ClientError::connect);  // never seen
}

TEST_CASE("what is probed, and which status is well, are settings") {
  std::atomic<int> status{200};
  std::atomic<int> others{0};
  FakeInstance one([&](std::shared_ptr<net::Exchange> exchange) {
    const std::string& target = exchange->request().target;
    if (target == "/live?full=1") return answer_json(*exchange, status.load(), "");
    if (target != "/v1/models" && target != "/metrics") ++others;
    answer_json(*exchange, 404, "");
  });
  auto settings = quick();
  settings.health_path = "/live?full=1";
  settings.health_status = 200;
  Watching watching(settings);
  watching.monitor.set_view(make_view({{"e1", one.address(), {"a"}}}));
  CHECK(eventually([&] { return one.requests() > 4; }));
  CHECK(watching.told(0) == Verdicts{true});
  status = 204;  // any below 500 would do by default
  CHECK(eventually([&] { return watching.told(0) == Verdicts{true, false}; }));
  CHECK(watching.monitor.facts(0).unhealthy_reason == "GET /live?full=1: status 204");
  CHECK(others == 0);
}

TEST_CASE("models are reported when they differ from the view's, and listed for the merge") {
  Scripted scripted;
  FakeInstance one(scripted.script());
  Watching watching(quick());
  watching.monitor.set_view(make_view({{"e1", one.address(), {}}}));
  CHECK(eventually([&] { return watching.models_of("e1") == std::vector<std::string>{"a", "b"}; }));
  REQUIRE(watching.monitor.listed_models().size() == 1);
  CHECK(watching.monitor.listed_models()[0].size() == 3);

  // Known by now: nothing to report until they change.
  watching.monitor.set_view(make_view({{"e1", one.address(), {"b", "a"}}}));
  {
    const std::lock_guard lock(watching.mutex);
    watching.found.clear();
  }
  {
    const std::lock_guard lock(scripted.mutex);
    scripted.models = R"({"data":[{"id":"c"}]})";
  }
  CHECK(eventually([&] { return watching.models_of("e1") == std::vector<std::string>{"c"}; }));
}

TEST_CASE("which models are adapters is told when it changes") {
  Scripted first, second;
  first.models = R"({"data":[{"id":"a"},{"id":"x","parent":"a"}]})";
  second.models = R"({"data":[{"id":"b"},{"id":"y","parent":"b"},{"id":"x","parent":"b"}]})";
  FakeInstance one(first.script()), two(second.script());
  Watching watching(quick());
  watching.monitor.set_view(make_view({{"e1", one.address(), {}}, {"e2", two.address(), {}}}));
  const auto told = [&] {
    const std::lock_guard lock(watching.mutex);
    return watching.kinds;
  };
  const ModelKinds all{{"a", false}, {"b", false}, {"x", true}, {"y", true}};
  CHECK(eventually([&] { return !told().empty() && told().back() == all; }));
  const std::size_t times = told().size();
  const auto asked = one.requests();
  CHECK(eventually([&] { return one.requests() > asked + 8; }));
  CHECK(told().size() == times);
  {
    const std::lock_guard lock(second.mutex);
    second.models = R"({"data":[{"id":"b"}]})";
  }
  CHECK(eventually([&] {
    return told().back() == ModelKinds{{"a", false}, {"b", false}, {"x", true}};
  }));
}

TEST_CASE("the models of an instance that does not tell them are taken for no adapters") {
  FakeInstance one([](std::shared_ptr<net::Exchange> exchange) {
    answer_json(*exchange, exchange->request().target == "/health" ? 200 : 401, "{}");
  });
  Watching watching(quick());
  watching.monitor.set_view(make_view({{"e1", one.address(), {"m"}}}));
  CHECK(eventually([&] {
    const std::lock_guard lock(watching.mutex);
    return !watching.kinds.empty() && watching.kinds.back() == ModelKinds{{"m", false}};
  }));
}

TEST_CASE("another address in the same slot is another instance; a removed one is not watched") {
  Scripted first, second;
  FakeInstance one(first.script()), two(second.script());
  Watching watching(quick());
  watching.monitor.set_view(make_view({{"e1", one.address(), {"a", "b"}}}));
  REQUIRE(eventually([&] { return one.requests() > 2; }));
  watching.monitor.set_view(make_view({{"e1", two.address(), {"a", "b"}}}));
  REQUIRE(eventually([&] { return two.requests() > 2; }));
  CHECK(watching.caches_lost == 1);
  CHECK(watching.told(0) == Verdicts{true, true});

  watching.monitor.set_view(
      make_view({{"e1", two.address(), {"a"}, policies::Lifecycle::removed}}));
  CHECK(eventually([&] { return watching.monitor.listed_models().empty(); }));
}

TEST_CASE("a list of models that is nested without end is not taken") {
  const auto listed = [](std::size_t levels) {
    return parse_models(R"({"data":[{"id":"a","x":)" + std::string(levels, '[') +
                        std::string(levels, ']') + R"(,"text":"[[\"]]"}]})");
  };
  REQUIRE(listed(100));
  CHECK(listed(100)->at(0).id == "a");
  CHECK(!listed(1'000'000));
}
