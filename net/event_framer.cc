#include "net/event_framer.h"

#include <algorithm>

namespace dualmesh::net {
namespace {

// The end of the last blank line in `text`, not before `from`; 0 when there is none.
std::size_t end_of_events(std::string_view text, std::size_t from) {
  for (std::size_t i = text.size(); i > from + 1; --i) {
    const char last = text[i - 1], before = text[i - 2];
    if (last == before && (last == '\n' || last == '\r')) return i;
    if (last == '\n' && before == '\r' && i > 2 && text[i - 3] == '\n') return i;
  }
  return 0;
}

}  // namespace

std::string_view EventFramer::feed(std::string_view piece) {
  if (held_.empty()) {
    const std::size_t end = end_of_events(piece, 0);
    if (piece.size() - end <= kLargestEvent) {
      held_.assign(piece.substr(end));
      return piece.substr(0, end);
    }
  }
  // A blank line may have been cut in three.
  const std::size_t seen = held_.size() < 2 ? 0 : held_.size() - 2;
  held_ += piece;
  std::size_t end = end_of_events(held_, seen);
  if (end > 0) {
    inside_ = false;
  } else if (inside_ || held_.size() > kLargestEvent) {
    inside_ = true;
    end = held_.size() - std::min<std::size_t>(held_.size(), 2);  // perhaps of a blank line
  }
  passed_.assign(held_, 0, end);
  held_.erase(0, end);
  return passed_;
}

}  // namespace dualmesh::net
