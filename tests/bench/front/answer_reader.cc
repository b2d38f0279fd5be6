#include "tests/bench/front/answer_reader.h"

#include <algorithm>
#include <cstdlib>

#include "tests/bench/front/http_text.h"

namespace dualmesh::bench {
namespace {

constexpr std::string_view kEventId = R"("id":"chatcmpl-)", kEventEnd = "\n\n";

}  // namespace

void AnswerReader::begin() {
  in_.clear();
  events_text_.clear();
  head_done_ = chunked_ = done_event_ = closes_ = false;
  status_ = 0;
  left_ = events_ = 0;
}

bool AnswerReader::read_head() {
  const std::size_t end = in_.find(kHeadEnd);
  if (end == std::string::npos) return false;
  const std::string_view head = std::string_view(in_).substr(0, end + 2);
  if (head.size() > 12) status_ = std::atoi(head.data() + 9);
  left_ = content_length(head);
  chunked_ = left_ < 0;
  if (chunked_) left_ = 0;
  closes_ = field(head, "connection:").starts_with("close");
  head_done_ = true;
  in_.erase(0, end + kHeadEnd.size());
  return true;
}

AnswerReader::State AnswerReader::feed(std::string_view bytes, std::int64_t now_us,
                                       std::vector<std::int32_t>& delays) {
  if (head_done_ && !chunked_) {
    left_ -= static_cast<long>(bytes.size());
    return left_ > 0 ? State::kMore : left_ == 0 ? State::kDone : State::kBroken;
  }
  in_.append(bytes);
  if (!head_done_ && !read_head()) return State::kMore;
  if (!chunked_) {
    left_ -= static_cast<long>(in_.size());
    return left_ > 0 ? State::kMore : left_ == 0 ? State::kDone : State::kBroken;
  }
  const State state = read_chunks();
  read_events(now_us, delays);
  return state;
}

AnswerReader::State AnswerReader::read_chunks() {
  std::size_t at = 0;
  State state = State::kMore;
  while (state == State::kMore) {
    if (left_ > 2) {  // 2: the line end behind the chunk
      const std::size_t part = std::min(in_.size() - at, static_cast<std::size_t>(left_ - 2));
      if (part == 0) break;
      events_text_.append(in_, at, part);
      at += part;
      left_ -= static_cast<long>(part);
      continue;
    }
    if (left_ == 2) {
      if (in_.size() - at < 2) break;
      at += 2;
      left_ = 0;
    }
    const std::size_t line = in_.find("\r\n", at);
    if (line == std::string::npos) break;
    char* end = nullptr;
    const long size = std::strtol(in_.data() + at, &end, 16);
    if (end == in_.data() + at || size < 0) return State::kBroken;
    if (size == 0) {
      if (in_.size() - line < kHeadEnd.size())
        break;  // wait for the end of the trailers: none here
      state = State::kDone;
    }
    at = line + 2;
    left_ = size + 2;
  }
  in_.erase(0, at);
  return state;
}

void AnswerReader::read_events(std::int64_t now_us, std::vector<std::int32_t>& delays) {
  std::size_t at = 0;
  for (std::size_t end; (end = events_text_.find(kEventEnd, at)) != std::string::npos;
       at = end + kEventEnd.size()) {
    const std::string_view event = std::string_view(events_text_).substr(at, end - at);
    const std::size_t id = event.find(kEventId);
    if (id == std::string_view::npos) {
      done_event_ = done_event_ || event == "data: [DONE]";
      continue;
    }
    ++events_;
    const long sent_us = std::strtol(event.data() + id + kEventId.size(), nullptr, 10);
    delays.push_back(static_cast<std::int32_t>(now_us - sent_us));
  }
  events_text_.erase(0, at);
}

}  // namespace dualmesh::bench
