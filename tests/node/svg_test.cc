#include "node/simulator/svg.h"

#include <doctest/doctest.h>

namespace dualmesh::node {
namespace {

TEST_CASE("svg: text and attributes are escaped, elements end in order") {
  Svg svg(20, 10, "a < b & c", "#fff");
  svg.open("g", {{"class", "say \"x\" & <y>"}});
  svg.text({1, 2}, "1 > 0\x01");
  const std::string text = svg.finish();
  CHECK(text.find("<title>a &lt; b &amp; c</title>") != std::string::npos);
  CHECK(text.find("class=\"say &quot;x&quot; &amp; &lt;y&gt;\"") != std::string::npos);
  CHECK(text.find("1 &gt; 0?</text>") != std::string::npos);
  CHECK(text.ends_with("</g>\n</svg>\n"));
}

TEST_CASE("svg: a path keeps its bends and leaves out what lies on a straight run") {
  Svg svg(20, 10, "", "#fff");
  svg.path({{0, 5}, {1, 5}, {2, 5}, {2, 3}, {2, 4}, {3.5, 4.5}}, {});
  CHECK(svg.finish().find("d=\"M0 5h2v-2v1l1.5 0.5\"") != std::string::npos);
}

}  // namespace
}  // namespace dualmesh::node
