#include "node/ctl/tables.h"

#include <doctest/doctest.h>

#include <sstream>

namespace dualmesh::node::ctl {
namespace {

TEST_CASE("columns line up, numbers to the right, no trailing blanks") {
  TextTable table({{"name"}, {"count", Align::right}, {"note"}});
  table.add({"a", "1", ""});
  table.add({"longer", "1,000", "x"});
  CHECK(table.render() ==
        "name    count  note\n"
        "a           1\n"
        "longer  1,000  x\n");
}

TEST_CASE("code points are counted, not bytes") {
  CHECK(display_width("·≠a") == 3);
  CHECK(truncated("äöü", 3) == "äöü");
  CHECK(truncated("äöüß", 3) == "äö…");
  CHECK(truncated("abc", 0).empty());
}

TEST_CASE("a table too wide cuts only the columns that may shrink, widest first") {
  TextTable table({{.title = "k", .shrink = 1}, {"fixed"}, {.title = "v", .shrink = 1}});
  table.add({std::string(80, 'k'), std::string(20, 'f'), std::string(30, 'v')});
  std::istringstream lines(table.render(100));
  for (std::string line; std::getline(lines, line);) CHECK(display_width(line) <= 100);
  CHECK(table.render(100).find(std::string(20, 'f')) != std::string::npos);
  CHECK(table.render(100).find(std::string(30, 'v')) != std::string::npos);
  CHECK(table.render(100).find("k…") != std::string::npos);
}

TEST_CASE("long text wraps between words at the indent") {
  const std::string text = wrapped(std::string(60, 'a') + " " + std::string(60, 'b'), 4, 100);
  CHECK(text == std::string(60, 'a') + "\n    " + std::string(60, 'b'));
  CHECK(wrapped(std::string(60, 'a') + " " + std::string(60, 'b'), 4, 125).find('\n') ==
        std::string::npos);
  CHECK(wrapped("short words stay", 4) == "short words stay");
  CHECK(wrapped("", 4).empty());
}

TEST_CASE("numbers read well") {
  CHECK(count_text(0) == "0");
  CHECK(count_text(999) == "999");
  CHECK(count_text(1'000) == "1,000");
  CHECK(count_text(18'446'744'073'709'551'615ULL) == "18,446,744,073,709,551,615");
  CHECK(bytes_text(999) == "999 B");
  CHECK(bytes_text(1'500'000) == "1.5 MB");
  CHECK(ms_text(0.44) == "0.4 ms");
  CHECK(ms_text(250.0) == "250 ms");
  CHECK(ms_text(3'400.0) == "3.4 s");
  CHECK(ms_text(600'000.0) == "10 min");
}

}  // namespace
}  // namespace dualmesh::node::ctl
