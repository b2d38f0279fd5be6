// Svg: writes one SVG document, well-formed by construction: elements close in the order in which
// they were opened, text and attributes are escaped, the root has a size and a background.
//
// Numbers are written with one decimal, which is a tenth of a pixel. Threads: none.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dualmesh::node {

class Svg {
 public:
  using Attributes = std::initializer_list<std::pair<std::string_view, std::string>>;
  struct Point {
    double x = 0.0;
    double y = 0.0;
  };

  // `title` is what screen readers say and what hovering shows.
  Svg(double width, double height, std::string_view title, std::string_view background);

  void open(std::string_view tag, Attributes attributes);
  void close();
  void leaf(std::string_view tag, Attributes attributes);
  void text(Point at, std::string_view text, Attributes attributes = {});
  void line(Point from, Point to, Attributes attributes);
  void rectangle(Point corner, double width, double height, Attributes attributes);
  // One path, in relative steps, which are shorter; points of one straight run are left out.
  void path(const std::vector<Point>& points, Attributes attributes);

  std::string finish();  // closes what is open

 private:
  void begin(std::string_view tag, Attributes attributes);

  std::string out_;
  std::vector<std::string> open_;
};

std::string escaped_xml(std::string_view text);
std::string svg_number(double value);  // 12.5, 3, -0.2

}  // namespace dualmesh::node
