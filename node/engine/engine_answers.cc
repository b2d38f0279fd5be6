#include "node/engine/engine_answers.h"

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

namespace dualmesh::node {

using net::Endpoint;
using nlohmann::json;

namespace {

constexpr std::string_view kWords[] = {
    "amber",  "basin",   "cedar", "delta",  "ember", "fable", "grain",  "haven",
    "inlet",  "juniper", "kiln",  "ledge",  "maple", "north", "ocean",  "pearl",
    "quartz", "river",   "slate", "timber", "umbra", "vale",  "willow", "yarrow",
    "zephyr", "arch",    "brook", "coast",  "dune",  "elm",   "fern",   "glade"};

std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

std::string event(const json& data) { return "data: " + data.dump() + "\n\n"; }
std::string named_event(const json& data) {
  return "event: " + data["type"].get<std::string>() + "\ndata: " + data.dump() + "\n\n";
}

json usage(const Answer& answer) {
  return {{"prompt_tokens", answer.prompt_tokens},
          {"completion_tokens", answer.output_tokens},
          {"total_tokens", answer.prompt_tokens + answer.output_tokens},
          {"prompt_tokens_details", {{"cached_tokens", answer.cached_tokens}}}};
}

const char* finish_reason(const Answer& answer) { return answer.cut_at_limit ? "length" : "stop"; }

json base(const Answer& answer, const char* object) {
  return {{"id", answer.id},
          {"object", object},
          {"created", answer.created_s},
          {"model", answer.model}};
}

json chunk(const Answer& answer, json delta, json reason) {
  const bool chat = answer.endpoint == Endpoint::chat;
  json out = base(answer, chat ? "chat.completion.chunk" : "text_completion");
  json choice = {{"index", 0}, {"logprobs", nullptr}, {"finish_reason", std::move(reason)}};
  choice[chat ? "delta" : "text"] = std::move(delta);
  out["choices"] = json::array({std::move(choice)});
  return out;
}

// The Responses API: one message with one text part.
json text_part(const std::string& text) {
  return {{"type", "output_text"}, {"text", text}, {"annotations", json::array()}};
}

json message_item(const Answer& answer, const char* status, json content) {
  return {{"type", "message"},
          {"id", "msg_" + answer.id},
          {"status", status},
          {"role", "assistant"},
          {"content", std::move(content)}};
}

json response_object(const Answer& answer, const char* status, json output) {
  const bool done = std::string_view(status) == "completed";
  return {{"id", answer.id},
          {"object", "response"},
          {"created_at", answer.created_s},
          {"status", status},
          {"model", answer.model},
          {"output", std::move(output)},
          {"error", nullptr},
          {"incomplete_details", nullptr},
          {"instructions", nullptr},
          {"metadata", json::object()},
          {"parallel_tool_calls", true},
          {"temperature", 1.0},
          {"tool_choice", "auto"},
          {"tools", json::array()},
          {"top_p", 1.0},
          {"usage", done ? json{{"input_tokens", answer.prompt_tokens},
                                {"input_tokens_details", {{"cached_tokens", answer.cached_tokens}}},
                                {"output_tokens", answer.output_tokens},
                                {"output_tokens_details", {{"reasoning_tokens", 0}}},
                                {"total_tokens", answer.prompt_tokens + answer.output_tokens}}
                         : json(nullptr)}};
}

json completed_response(const Answer& answer) {
  const std::string text = answer_text(answer.seed, 0, answer.output_tokens);
  return response_object(
      answer, "completed",
      json::array({message_item(answer, "completed", json::array({text_part(text)}))}));
}

// Events of a response are numbered: four open it, one per token, four close it. Numbers follow the
// token position, so a piece of several tokens leaves a gap, never a repetition.
json response_event(const Answer& answer, const char* type, std::uint64_t sequence_number,
                    bool in_part) {
  json out = {{"type", type}, {"sequence_number", sequence_number}};
  if (in_part) {
    out["item_id"] = "msg_" + answer.id;
    out["output_index"] = 0;
    out["content_index"] = 0;
  }
  return out;
}

std::string open_response(const Answer& answer) {
  std::string out;
  for (const auto& [number, type] :
       {std::pair{0, "response.created"}, {1, "response.in_progress"}}) {
    json opened = response_event(answer, type, static_cast<std::uint64_t>(number), false);
    opened["response"] = response_object(answer, "in_progress", json::array());
    out += named_event(opened);
  }
  json item = response_event(answer, "response.output_item.added", 2, false);
  item["output_index"] = 0;
  item["item"] = message_item(answer, "in_progress", json::array());
  json part = response_event(answer, "response.content_part.added", 3, true);
  part["part"] = text_part("");
  return out + named_event(item) + named_event(part);
}

std::string close_response(const Answer& answer) {
  const std::string text = answer_text(answer.seed, 0, answer.output_tokens);
  std::uint64_t number = 4 + std::uint64_t{answer.output_tokens};
  json done = response_event(answer, "response.output_text.done", number++, true);
  done["text"] = text;
  done["logprobs"] = json::array();
  json part = response_event(answer, "response.content_part.done", number++, true);
  part["part"] = text_part(text);
  json item = response_event(answer, "response.output_item.done", number++, false);
  item["output_index"] = 0;
  item["item"] = message_item(answer, "completed", json::array({text_part(text)}));
  json completed = response_event(answer, "response.completed", number, false);
  completed["response"] = completed_response(answer);
  return named_event(done) + named_event(part) + named_event(item) + named_event(completed);
}

std::string base64(const std::string& bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      out += i + k <= bytes.size() ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

std::vector<float> unit_vector(std::uint64_t seed, std::uint32_t dimensions) {
  std::vector<float> values(dimensions);
  double squares = 0.0;
  for (std::uint32_t i = 0; i < dimensions; ++i) {
    const std::uint64_t bits = mix(seed + 0x9E3779B97F4A7C15 * (i + 1));
    values[i] = static_cast<float>(static_cast<double>(bits >> 11) * 0x1p-52 - 1.0);
    squares += double{values[i]} * values[i];
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(squares));
  for (float& value : values) value *= scale;
  return values;
}

json embedding(const std::vector<float>& values, bool as_base64) {
  if (!as_base64) return values;
  std::string bytes;
  for (float value : values) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(bits >> shift & 255);
  }
  return base64(bytes);
}

}  // namespace

std::string answer_text(std::uint64_t seed, std::uint32_t from, std::uint32_t to) {
  std::string text;
  for (std::uint32_t i = from; i < to; ++i) {
    if (i > 0) text += ' ';
    text += kWords[mix(seed + 0x9E3779B97F4A7C15 * (i + 1)) % std::size(kWords)];
  }
  return text;
}

std::string whole_answer(const Answer& answer) {
  if (answer.endpoint == Endpoint::responses) return completed_response(answer).dump();
  const bool chat = answer.endpoint == Endpoint::chat;
  const std::string text = answer_text(answer.seed, 0, answer.output_tokens);
  json out = base(answer, chat ? "chat.completion" : "text_completion");
  json choice = {{"index", 0}, {"logprobs", nullptr}, {"finish_reason", finish_reason(answer)}};
  if (chat) {
    choice["message"] = {{"role", "assistant"}, {"content", text}, {"refusal", nullptr}};
  } else {
    choice["text"] = text;
  }
  out["choices"] = json::array({std::move(choice)});
  out["usage"] = usage(answer);
  return out.dump();
}

std::string stream_open(const Answer& answer) {
  if (answer.endpoint == Endpoint::responses) return open_response(answer);
  if (answer.endpoint != Endpoint::chat) return {};
  return event(chunk(answer, {{"role", "assistant"}, {"content", ""}}, nullptr));
}

std::string stream_piece(const Answer& answer, std::uint32_t from, std::uint32_t to) {
  std::string text = answer_text(answer.seed, from, to);
  if (answer.endpoint == Endpoint::responses) {
    json delta =
        response_event(answer, "response.output_text.delta", 4 + std::uint64_t{from}, true);
    delta["delta"] = std::move(text);
    delta["logprobs"] = json::array();
    return named_event(delta);
  }
  if (answer.endpoint != Endpoint::chat) return event(chunk(answer, std::move(text), nullptr));
  return event(chunk(answer, {{"content", std::move(text)}}, nullptr));
}

std::string stream_close(const Answer& answer) {
  if (answer.endpoint == Endpoint::responses) return close_response(answer);
  json nothing = answer.endpoint == Endpoint::chat ? json::object() : json("");
  std::string out = event(chunk(answer, std::move(nothing), finish_reason(answer)));
  if (answer.include_usage) {
    json last = base(
        answer, answer.endpoint == Endpoint::chat ? "chat.completion.chunk" : "text_completion");
    last["choices"] = json::array();
    last["usage"] = usage(answer);
    out += event(last);
  }
  return out + "data: [DONE]\n\n";
}

std::string embeddings_answer(const Answer& answer, const std::vector<std::uint64_t>& seeds,
                              const EmbeddingOptions& options) {
  json data = json::array();
  for (std::uint64_t seed : seeds) {
    data.push_back(
        {{"object", "embedding"},
         {"index", data.size()},
         {"embedding", embedding(unit_vector(seed, options.dimensions), options.base64)}});
  }
  return json{
      {"object", "list"},
      {"data", std::move(data)},
      {"model", answer.model},
      {"usage", {{"prompt_tokens", answer.prompt_tokens}, {"total_tokens", answer.prompt_tokens}}}}
      .dump();
}

}  // namespace dualmesh::node
