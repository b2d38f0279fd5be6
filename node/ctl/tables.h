// TextTable: aligned columns for people, never wider than a terminal, and the few number formats
// that all commands share.
//
// Invariant: every rendered line is at most the width asked for, as long as the columns that may
// not shrink fit; what had to be cut ends in an ellipsis. Nothing is cut where a program reads.
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dualmesh::node::ctl {

inline constexpr std::size_t kLineWidth = 100;

// Of standard output: the terminal's, kLineWidth where it is none or does not say.
std::size_t line_width();
// For tables: line_width() at a terminal, without end elsewhere.
std::size_t table_width();

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::left;
  int shrink = 0;  // 0: never cut; 1: cut first when the table is too wide; 2: cut after those
};

class TextTable {
 public:
  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void add(std::vector<std::string> cells);  // one per column
  std::string render(std::size_t width = table_width()) const;
  bool empty() const { return rows_.empty(); }

 private:
  std::vector<std::size_t> widths(std::size_t width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

std::size_t display_width(std::string_view text);  // code points
std::string truncated(std::string_view text, std::size_t width);
// Between words; the first line is taken to begin at the indent.
std::string wrapped(std::string_view text, std::size_t indent, std::size_t width = line_width());

std::string count_text(std::uint64_t value);  // 1,234,567
std::string bytes_text(std::uint64_t bytes);  // 1.2 MB
std::string ms_text(double milliseconds);     // 0.4 ms, 12 ms, 3.4 s, 2 h
std::string joined(const std::vector<std::string>& parts, std::string_view separator = ", ");

}  // namespace dualmesh::node::ctl
