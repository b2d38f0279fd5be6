#include "net/prompt_list.h"

namespace dualmesh::net {
namespace {

using Token = JsonScan::Token;

enum Field : std::size_t {
  role,
  name,
  tool_call_id,
  reasoning_content,
  reasoning,
  refusal,
  content,
  tool_calls,
  function_call,
  type,
};

constexpr NameTable field_names(std::array<std::string_view, 10>{
    "role", "name", "tool_call_id", "reasoning_content", "reasoning", "refusal", "content",
    "tool_calls", "function_call", "type"});
constexpr NameTable part_names(std::array<std::string_view, 3>{"type", "text", "refusal"});

bool is_system(std::string_view role_name) {
  return role_name == "system" || role_name == "developer" || role_name == "instructions";
}

}  // namespace

void PromptList::instructions(const JsonString& spelled, PromptWriter& out) {
  out.message({"instructions"});
  in_system_ = !system_seen_;
  words(spelled, out);
  system_seen_ = true;
  in_system_ = false;
}

PromptList::Step PromptList::take(Token token, const JsonScan& scan, std::string_view text) {
  const auto go_on = [](bool sure) { return sure ? Step::going_on : Step::unsure; };
  const std::size_t depth = scan.depth();
  if (depth < depth_) return Step::done;
  if (!in_element_) {
    in_element_ = true;
    element_ = value_begun(scan, token, text);
    respelled_ = scan.respelled();
    fields_ = {};
    return go_on(token == Token::object);
  }
  if (depth == depth_) {
    in_element_ = false;
    value_ended(element_, scan, respelled_);
    note();
    return Step::going_on;
  }
  if (depth == depth_ + 1) {
    if (token == Token::key) return go_on(fields_.key(field_names, scan.string(text)));
    if (token == Token::object_end || token == Token::array_end) {
      fields_.container_ended(scan);
    } else {
      fields_.value(scan, token, text);
    }
  } else if (depth == depth_ + 2 && opens(token)) {
    fields_.value(scan, token, text);
  }
  return Step::going_on;
}

void PromptList::note() {
  const std::size_t first = noted_.size();
  for (std::size_t i = 0; i < kFields; ++i) {
    const JsonValue& value = fields_.values[i];
    if (value.is_given()) noted_.push_back({static_cast<std::uint8_t>(i), value});
  }
  elements_.push_back({element_, first, noted_.size()});
}

bool PromptList::write(std::string_view text, PromptWriter& out) {
  for (; written_ < elements_.size(); ++written_) {
    if (!element(elements_[written_], text, out)) return false;
  }
  return true;
}

void PromptList::restart() {
  written_ = 0;
  system_ = {};
  system_seen_ = false;
}

bool PromptList::element(const Element& element, std::string_view text, PromptWriter& out) {
  Values values{};
  for (std::size_t i = element.fields_begin; i < element.fields_end; ++i) {
    values[noted_[i].index] = noted_[i].value;
  }
  if (of_ == Of::messages || !values[type].is_string()) return message(values, text, out);
  const JsonString name = values[type].string(text);
  if (name.escaped()) return false;
  if (name.raw.empty() || name.raw == "message") return message(values, text, out);
  out.message(name);
  out.attachment("item");
  return out.json(text, element.value);
}

bool PromptList::message(const Values& values, std::string_view text, PromptWriter& out) {
  if (!values[role].is_string()) return false;
  const JsonString role_name = values[role].string(text);
  if (role_name.escaped()) return false;
  out.message(role_name);
  in_system_ = !system_seen_ && is_system(role_name.raw);
  for (std::size_t field = name; field <= refusal; ++field) {
    if (!values[field].is_string()) continue;
    const JsonString value = values[field].string(text);
    if (value.raw.empty()) continue;
    out.attachment(field_names[field]);
    out.words(value);
  }
  if (!parts(values[content], text, out)) return false;
  for (const std::size_t field : {tool_calls, function_call}) {
    if (!values[field].is_given()) continue;
    out.attachment(field_names[field]);
    if (!out.json(text, values[field])) return false;
  }
  system_seen_ |= in_system_;
  in_system_ = false;
  return true;
}

bool PromptList::parts(const JsonValue& of, std::string_view text, PromptWriter& out) {
  if (!of.is_given()) return true;
  if (of.is_string()) {
    words(of.string(text), out);
    return true;
  }
  if (of.kind != Token::array) return false;
  JsonScan scan(of.begin);
  scan.next(text);  // its '['
  for (;;) {
    switch (scan.next(text)) {
      case Token::array_end:
        return true;
      case Token::string:
        words(scan.string(text), out);
        break;
      case Token::object:
        if (!part(scan, text, out)) return false;
        break;
      default:
        return false;
    }
  }
}

// An object in the list of parts, of which `scan` has read the '{'.
bool PromptList::part(JsonScan& scan, std::string_view text, PromptWriter& out) {
  KnownFields<3> fields;
  const std::size_t depth = scan.depth();
  for (;;) {
    const Token token = scan.next(text);
    if (scan.depth() < depth) break;
    if (scan.depth() == depth && token == Token::key) {
      if (!fields.key(part_names, scan.string(text))) return false;
    } else if (scan.depth() == depth + (opens(token) ? 1 : 0) && token != Token::object_end &&
               token != Token::array_end) {
      fields.value(scan, token, text);
    }
  }
  const auto& [kind, plain, refused] = fields.values;
  const JsonString spelled = kind.is_string() ? kind.string(text) : JsonString();
  if (spelled.escaped()) return false;
  const std::string_view name = spelled.raw;
  if (name == "refusal") {
    if (!refused.is_string()) return false;
    words(refused.string(text), out);
    return true;
  }
  const bool is_text =
      name.empty() || name == "text" || name == "input_text" || name == "output_text";
  if (!is_text || !plain.is_string()) return false;
  words(plain.string(text), out);
  return true;
}

void PromptList::words(const JsonString& spelled, PromptWriter& out) {
  out.text(spelled);
  if (!in_system_) return;
  if (!spelled.escaped()) return system_.add(spelled.raw);
  JsonParts parts(spelled);
  for (auto part = parts.next(); !part.empty() && !system_.is_full(); part = parts.next()) {
    system_.add(part);
  }
}

}  // namespace dualmesh::net
