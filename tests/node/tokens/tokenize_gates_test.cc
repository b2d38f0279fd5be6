// TokenizeGates: who may be asked when.
#include "node/tokens/tokenize_gates.h"

#include <doctest/doctest.h>

using namespace dualmesh;
using namespace dualmesh::node;
using namespace std::chrono_literals;
using net::TokenForm;

namespace {

struct Scene {
  bool may_ask(TokenForm form = TokenForm::messages) { return gates.may_ask("a", form, now); }
  // Asks, and is answered.
  bool ask(TokenizeEnd end, TokenForm form = TokenForm::messages) {
    if (!may_ask(form)) return false;
    gates.answered("a", form, end, now);
    return true;
  }
  TokenizeGates gates;
  policies::Time now = 100s;
};

}  // namespace

TEST_CASE("not more than some at a time, each instance for itself") {
  Scene scene;
  const std::uint32_t most = TokenizeGates::Settings().max_at_once;
  for (std::uint32_t i = 0; i < most; ++i) CHECK(scene.may_ask());
  CHECK_FALSE(scene.may_ask());
  CHECK(scene.gates.may_ask("b", TokenForm::messages, scene.now));
  scene.gates.answered("a", TokenForm::messages, TokenizeEnd::called_off, scene.now);
  CHECK(scene.may_ask());
  CHECK_FALSE(scene.may_ask());
}

TEST_CASE("whoever is late is left alone, longer each time, and then tried with one question") {
  Scene scene;
  policies::Duration before{};
  for (int i = 0; i < 10; ++i) {
    REQUIRE(scene.ask(TokenizeEnd::late));
    policies::Duration closed{};
    while (!scene.may_ask()) {
      scene.now += 10ms;
      closed += 10ms;
    }
    CHECK_FALSE(scene.may_ask());  // one at a time
    scene.gates.answered("a", TokenForm::messages, TokenizeEnd::called_off, scene.now);
    CHECK(closed == std::min<policies::Duration>(250ms * (1 << i), 10s));
    CHECK(closed >= before);
    before = closed;
  }
  REQUIRE(scene.ask(TokenizeEnd::tokens));
  CHECK(scene.may_ask());
  CHECK(scene.may_ask());
}

TEST_CASE("several that are late at once count as one") {
  Scene scene;
  for (int i = 0; i < 5; ++i) REQUIRE(scene.may_ask());
  for (int i = 0; i < 5; ++i) {
    scene.gates.answered("a", TokenForm::messages, TokenizeEnd::late, scene.now);
  }
  scene.now += 250ms;
  CHECK(scene.may_ask());
  CHECK(scene.gates.ended(TokenizeEnd::late) == 5);
}

TEST_CASE("whoever cannot is asked again after a minute") {
  Scene scene;
  REQUIRE(scene.ask(TokenizeEnd::unable));
  CHECK(scene.gates.lacks("a") == TokenizeGates::Lack::all);
  CHECK_FALSE(scene.may_ask());
  CHECK_FALSE(scene.may_ask(TokenForm::text));
  scene.now += 59s;
  CHECK_FALSE(scene.may_ask());
  scene.now += 1s;
  CHECK(scene.may_ask());
}

TEST_CASE("requests at fault close nothing, however many there are") {
  for (const TokenizeEnd end : {TokenizeEnd::refused, TokenizeEnd::malformed}) {
    Scene scene;
    for (int i = 0; i < 100; ++i) CHECK(scene.ask(end));
    CHECK(scene.ask(TokenizeEnd::tokens));
  }
}

TEST_CASE("a form is not known where a good request was refused, unless it was answered before") {
  for (const TokenizeEnd end : {TokenizeEnd::refused, TokenizeEnd::malformed}) {
    Scene scene;
    using Lack = TokenizeGates::Lack;
    REQUIRE(scene.ask(end));
    CHECK(scene.gates.lacks("a") == Lack::nothing);
    scene.gates.at_fault("a", TokenForm::messages, scene.now);
    CHECK_FALSE(scene.may_ask());
    CHECK(scene.ask(TokenizeEnd::tokens, TokenForm::text));
    CHECK_FALSE(scene.may_ask());  // the other form says nothing about it
    CHECK(scene.gates.lacks("a") == Lack::messages);
    scene.now += 60s;
    CHECK(scene.gates.lacks("a") == Lack::messages);
    REQUIRE(scene.ask(TokenizeEnd::tokens));
    CHECK(scene.gates.lacks("a") == Lack::nothing);
    scene.gates.at_fault("a", TokenForm::messages, scene.now);
    CHECK(scene.may_ask());
    scene.gates.at_fault("nobody", TokenForm::text, scene.now);
    CHECK(scene.gates.may_ask("nobody", TokenForm::text, scene.now));
  }
}

TEST_CASE("a table of instances that come and go is bounded") {
  TokenizeGates::Settings settings;
  settings.max_instances = 10;
  TokenizeGates gates(settings);
  for (int i = 0; i < 1'000; ++i) {
    const std::string address = std::to_string(i);
    REQUIRE(gates.may_ask(address, TokenForm::text, 0s));
    gates.answered(address, TokenForm::text, TokenizeEnd::late, 0s);
  }
  for (int i = 0; i < 10; ++i) REQUIRE(gates.may_ask("x" + std::to_string(i), TokenForm::text, 0s));
  CHECK_FALSE(gates.may_ask("one more", TokenForm::text, 0s));  // all are being asked
}
