#include "node/ctl/tables.h"

#include <spdlog/fmt/fmt.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "net/error.h"

namespace dualmesh::node::ctl {
namespace {

constexpr std::size_t kGap = 2;
constexpr std::size_t kNarrowestTerminal = 40;
constexpr std::size_t kNarrowest = 6;  // a shrunk column keeps this much

bool starts_code_point(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

std::string padded(const std::string& text, std::size_t width, Align align) {
  const std::string fill(width - std::min(width, display_width(text)), ' ');
  return align == Align::right ? fill + text : text + fill;
}

}  // namespace

std::size_t line_width() {
  winsize size{};
  if (isatty(STDOUT_FILENO) == 0 || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 ||
      size.ws_col == 0) {
    return kLineWidth;
  }
  return std::max<std::size_t>(size.ws_col, kNarrowestTerminal);
}

std::size_t table_width() {
  return isatty(STDOUT_FILENO) == 0 ? std::numeric_limits<std::size_t>::max() : line_width();
}

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), starts_code_point));
}

std::string truncated(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  std::string result;
  std::size_t taken = 0;
  for (char c : text) {
    if (starts_code_point(c) && ++taken == width) break;
    result.push_back(c);
  }
  return width == 0 ? "" : result + "…";
}

std::string wrapped(std::string_view text, std::size_t indent, std::size_t line) {
  std::string result;
  std::size_t column = indent;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    const std::size_t width = display_width(word);
    if (column > indent && column + 1 + width > line) {
      result += '\n' + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      result += ' ';
      ++column;
    }
    result += word;
    column += width;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

void TextTable::add(std::vector<std::string> cells) {
  DUALMESH_CHECK(cells.size() == columns_.size(), "cells={} columns={}", cells.size(),
                 columns_.size());
  rows_.push_back(std::move(cells));
}

std::vector<std::size_t> TextTable::widths(std::size_t width) const {
  std::vector<std::size_t> result;
  std::size_t total = columns_.empty() ? 0 : kGap * (columns_.size() - 1);
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t widest = display_width(columns_[i].title);
    for (const auto& row : rows_) widest = std::max(widest, display_width(row[i]));
    result.push_back(widest);
    total += widest;
  }
  for (int round = 1; round <= 2; ++round) {
    while (total > width) {  // takes from the widest that may shrink in this round
      std::size_t victim = columns_.size();
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        if (columns_[i].shrink != round || result[i] <= kNarrowest) continue;
        if (victim == columns_.size() || result[i] > result[victim]) victim = i;
      }
      if (victim == columns_.size()) break;
      --result[victim];
      --total;
    }
  }
  return result;
}

std::string TextTable::render(std::size_t width) const {
  const std::vector<std::size_t> column_widths = widths(width);
  std::string result;
  const auto add_line = [&](auto&& cell_of) {
    std::string line;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line.append(kGap, ' ');
      line += padded(truncated(cell_of(i), column_widths[i]), column_widths[i], columns_[i].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + '\n';
  };
  add_line([&](std::size_t i) -> const std::string& { return columns_[i].title; });
  for (const auto& row : rows_) {
    add_line([&](std::size_t i) -> const std::string& { return row[i]; });
  }
  return result;
}

std::string count_text(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000.0 && unit + 1 < kUnits.size()) {
    value /= 1000.0;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string ms_text(double milliseconds) {
  if (!std::isfinite(milliseconds)) return "-";
  if (milliseconds < 10.0) return fmt::format("{:.1f} ms", milliseconds);
  if (milliseconds < 1'000.0) return fmt::format("{:.0f} ms", milliseconds);
  const double seconds = milliseconds / 1'000.0;
  if (seconds < 120.0) return fmt::format("{:.1f} s", seconds);
  if (seconds < 7'200.0) return fmt::format("{:.0f} min", seconds / 60.0);
  return fmt::format("{:.0f} h", seconds / 3'600.0);
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

}  // namespace dualmesh::node::ctl
