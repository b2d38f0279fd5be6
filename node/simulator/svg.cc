#include "node/simulator/svg.h"

#include <fmt/format.h>

#include <cmath>

namespace dualmesh::node {
namespace {

// The points of a path, in tenths of a pixel, without those in the middle of a straight run.
std::vector<std::pair<long, long>> bends(const std::vector<Svg::Point>& points) {
  std::vector<std::pair<long, long>> kept;
  for (const Svg::Point& point : points) {
    const std::pair at(std::lround(point.x * 10), std::lround(point.y * 10));
    if (!kept.empty() && kept.back() == at) continue;
    if (kept.size() >= 2) {
      const auto& [x1, y1] = kept[kept.size() - 2];
      const auto& [x2, y2] = kept.back();
      const bool level = y1 == y2 && y2 == at.second;
      const bool upright = x1 == x2 && x2 == at.first;
      const bool onward =
          level ? (x2 - x1 > 0) == (at.first - x2 > 0) : (y2 - y1 > 0) == (at.second - y2 > 0);
      if ((level || upright) && onward) kept.pop_back();
    }
    kept.push_back(at);
  }
  return kept;
}

std::string tenths(long value) { return svg_number(static_cast<double>(value) / 10.0); }

}  // namespace

std::string escaped_xml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // XML knows no other control characters, not even escaped.
        out += static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t' ? '?' : c;
    }
  }
  return out;
}

std::string svg_number(double value) {
  std::string text = fmt::format("{:.1f}", value);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text == "-0" ? "0" : text;
}

Svg::Svg(double width, double height, std::string_view title, std::string_view background) {
  const std::string size = svg_number(width) + " " + svg_number(height);
  open("svg", {{"xmlns", "http://www.w3.org/2000/svg"},
               {"viewBox", "0 0 " + size},
               {"width", svg_number(width)},
               {"height", svg_number(height)},
               {"role", "img"},
               {"font-family", "'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"}});
  out_ += fmt::format("<title>{}</title>\n", escaped_xml(title));
  rectangle({}, width, height, {{"fill", std::string(background)}});
}

void Svg::open(std::string_view tag, Attributes attributes) {
  begin(tag, attributes);
  out_ += ">\n";
  open_.emplace_back(tag);
}

void Svg::close() {
  out_ += "</" + open_.back() + ">\n";
  open_.pop_back();
}

void Svg::begin(std::string_view tag, Attributes attributes) {
  out_ += '<';
  out_ += tag;
  for (const auto& [name, value] : attributes) {
    fmt::format_to(std::back_inserter(out_), " {}=\"{}\"", name, escaped_xml(value));
  }
}

void Svg::leaf(std::string_view tag, Attributes attributes) {
  begin(tag, attributes);
  out_ += "/>\n";
}

void Svg::text(Point at, std::string_view text, Attributes attributes) {
  begin("text", attributes);
  fmt::format_to(std::back_inserter(out_), " x=\"{}\" y=\"{}\">{}</text>\n", svg_number(at.x),
                 svg_number(at.y), escaped_xml(text));
}

void Svg::line(Point from, Point to, Attributes attributes) {
  begin("line", attributes);
  fmt::format_to(std::back_inserter(out_), " x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n",
                 svg_number(from.x), svg_number(from.y), svg_number(to.x), svg_number(to.y));
}

void Svg::rectangle(Point corner, double width, double height, Attributes attributes) {
  begin("rect", attributes);
  fmt::format_to(std::back_inserter(out_), " x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n",
                 svg_number(corner.x), svg_number(corner.y), svg_number(width), svg_number(height));
}

void Svg::path(const std::vector<Point>& points, Attributes attributes) {
  if (points.empty()) return;
  begin("path", attributes);
  out_ += " d=\"";
  std::pair<long, long> last{0, 0};
  char letter = 'M';
  for (const auto& at : bends(points)) {
    const long dx = at.first - last.first;
    const long dy = at.second - last.second;
    if (letter == 'M') {
      out_ += 'M' + tenths(dx) + ' ' + tenths(dy);
    } else if (dy == 0) {
      out_ += 'h' + tenths(dx);
    } else if (dx == 0) {
      out_ += 'v' + tenths(dy);
    } else {
      out_ += 'l' + tenths(dx) + (dy < 0 ? "" : " ") + tenths(dy);
    }
    letter = 'l';
    last = at;
  }
  out_ += "\"/>\n";
}

std::string Svg::finish() {
  while (!open_.empty()) close();
  return std::move(out_);
}

}  // namespace dualmesh::node
