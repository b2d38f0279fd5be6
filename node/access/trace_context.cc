#include "node/access/trace_context.h"

#include <algorithm>

namespace dualmesh::node {
namespace {

bool is_hex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_zero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

}  // namespace

// VERSION "-" TRACE-ID "-" PARENT-ID "-" FLAGS; later versions may have more after another "-".
std::string_view trace_id_of(std::string_view text) {
  constexpr std::size_t kSize = 55;
  if (text.size() < kSize || text[2] != '-' || text[35] != '-' || text[52] != '-') return {};
  const std::string_view version = text.substr(0, 2);
  const std::string_view trace = text.substr(3, 32);
  const std::string_view parent = text.substr(36, 16);
  if (!is_hex(version) || version == "ff") return {};
  if (text.size() > kSize && (version == "00" || text[kSize] != '-')) return {};
  if (!is_hex(trace) || is_zero(trace) || !is_hex(parent) || is_zero(parent)) return {};
  return is_hex(text.substr(53, 2)) ? trace : std::string_view();
}

TraceContext read_trace_context(const net::Headers& head) {
  TraceContext context;
  if (!head.has(kTraceParentHeader) && !head.has(kTraceStateHeader)) return context;
  std::size_t parents = 0;
  bool state = false;
  for (const auto& field : head) {
    if (net::equals_ignoring_case(field.name, kTraceParentHeader)) {
      context.trace_id = ++parents == 1 ? trace_id_of(field.value) : std::string_view();
    }
    state = state || net::equals_ignoring_case(field.name, kTraceStateHeader);
  }
  context.drops = context.trace_id.empty() && (parents > 0 || state);
  return context;
}

}  // namespace dualmesh::node
