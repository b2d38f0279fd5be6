// Reads one answer after the other from a connection: status, length or chunks, and of a stream
// when each event was sent. Only as strict as telling a whole answer from a broken one asks for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dualmesh::bench {

class AnswerReader {
 public:
  enum class State { kMore, kDone, kBroken };

  void begin();
  // `delays` gets, for each event that is whole now, the microseconds since the instance sent it.
  State feed(std::string_view bytes, std::int64_t now_us, std::vector<std::int32_t>& delays);

  int status() const { return status_; }
  long events() const { return events_; }
  bool ended_well() const { return !chunked_ || done_event_; }  // a stream ends with [DONE]
  bool closes() const { return closes_; }

 private:
  bool read_head();
  State read_chunks();
  void read_events(std::int64_t now_us, std::vector<std::int32_t>& delays);

  std::string in_;           // the head; then what of a chunk's frame is not whole yet
  std::string events_text_;  // decoded, from the first event that is not whole yet
  bool head_done_ = false, chunked_ = false, done_event_ = false, closes_ = false;
  int status_ = 0;
  long left_ = 0;  // of the body, or of the chunk with its line end
  long events_ = 0;
};

}  // namespace dualmesh::bench
