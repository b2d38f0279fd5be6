#include "net/prompt_scan.h"

#include <charconv>

#include "net/json_scan.h"
#include "net/prompt_list.h"
#include "net/template_key.h"

namespace dualmesh::net {
namespace {

using Token = JsonScan::Token;

enum Field : std::size_t {
  model,
  user,
  stream,
  stream_options,
  max_tokens,
  max_completion_tokens,
  max_output_tokens,
  messages,
  prompt,
  input,
  instructions,
  tools,
  functions,
  cache_salt,
  chat_template,  // the first of six that make other tokens
  chat_template_kwargs,
  mm_processor_kwargs,
  add_generation_prompt,
  continue_final_message,
  add_special_tokens,
  field_count,
};
constexpr NameTable field_names(std::array<std::string_view, field_count>{"model",
                                                                          "user",
                                                                          "stream",
                                                                          "stream_options",
                                                                          "max_tokens",
                                                                          "max_completion_tokens",
                                                                          "max_output_tokens",
                                                                          "messages",
                                                                          "prompt",
                                                                          "input",
                                                                          "instructions",
                                                                          "tools",
                                                                          "functions",
                                                                          "cache_salt",
                                                                          "chat_template",
                                                                          "chat_template_kwargs",
                                                                          "mm_processor_kwargs",
                                                                          "add_generation_prompt",
                                                                          "continue_final_message",
                                                                          "add_special_tokens"});
constexpr NameTable option_names(std::array<std::string_view, 1>{"include_usage"});

constexpr std::size_t worth_writing_bytes = 128 * 1024;

// The one that holds the prompt.
Field prompt_field(Endpoint endpoint) {
  switch (endpoint) {
    case Endpoint::chat:
      return messages;
    case Endpoint::completions:
      return prompt;
    default:
      return input;
  }
}

std::optional<std::uint32_t> count_of(std::string_view spelled) {
  std::uint32_t count = 0;
  const char* const end = spelled.data() + spelled.size();
  const auto [stop, error] = std::from_chars(spelled.data(), end, count);
  if (error != std::errc() || stop != end) return std::nullopt;
  return count;
}

// Completions and embeddings: a string, strings, tokens, or lists of tokens. One walk over a value
// that is complete.
class PromptForms {
 public:
  PromptForms(PromptFields& fields, Tokens tokens) : fields_(fields), tokens_(tokens) {}

  bool read(const JsonValue& value, std::string_view text, PromptWriter& out) {
    if (value.is_string()) {
      out.words(value.string(text));
      form = TokenForm::text;
      return true;
    }
    if (value.kind != Token::array) return false;
    JsonScan scan(value.begin);
    scan.next(text);
    const Token first = scan.next(text);
    if (first == Token::array_end) return false;
    if (first == Token::string) return texts(scan, text, out);
    out.begin_tokens();
    if (first != Token::array) {
      form = TokenForm::given;
      return token_list(scan, first, text, out);
    }
    std::size_t lists = 0;
    for (Token token = first; token != Token::array_end; token = scan.next(text)) {
      if (token != Token::array) return false;
      if (lists++ > 0) out.next_token_prompt();
      if (!token_list(scan, scan.next(text), text, out)) return false;
    }
    if (lists == 1) form = TokenForm::given;
    return true;
  }

  TokenForm form = TokenForm::none;

 private:
  static bool texts(JsonScan& scan, std::string_view text, PromptWriter& out) {
    out.words(scan.string(text));
    for (;;) {
      const Token token = scan.next(text);
      if (token == Token::array_end) return true;
      if (token != Token::string) return false;
      out.next_text_prompt();
      out.words(scan.string(text));
    }
  }

  bool token_list(JsonScan& scan, Token token, std::string_view text, PromptWriter& out) {
    for (; token != Token::array_end; token = scan.next(text)) {
      if (token != Token::number) return false;
      const auto id =
          count_of(text.substr(scan.token_begin(), scan.position() - scan.token_begin()));
      if (!id || *id == UINT32_MAX) return false;
      out.token(*id);
      ++fields_.token_ids;
      if (tokens_ == Tokens::wanted) fields_.tokens.push_back(*id);
    }
    return true;
  }

  PromptFields& fields_;
  const Tokens tokens_;
};

}  // namespace

struct PromptScan::State {
  State(Endpoint of_endpoint, Tokens tokens_wanted, PromptSink& to)
      : endpoint(of_endpoint),
        tokens(tokens_wanted),
        sink(to),
        forms(fields, tokens_wanted),
        list(list_kind()) {}

  PromptList::Of list_kind() const {
    return endpoint == Endpoint::responses ? PromptList::Of::items : PromptList::Of::messages;
  }

  // False: it is not for us.
  bool scan_on(std::string_view body);
  bool take(Token token, std::string_view body);
  bool value_known();
  void list_begins();
  bool write_beginning(std::string_view body, PromptWriter& out);
  bool write_some(std::string_view body);
  bool write_rest(std::string_view body);
  bool read_options(std::string_view body);
  bool read_stream_options(std::string_view body);
  bool read_token_fields(std::string_view body);
  const JsonValue& value(Field field) const { return known.values[field]; }

  const Endpoint endpoint;
  const Tokens tokens;
  PromptSink& sink;
  JsonScan scan;
  PromptFields fields;
  KnownFields<field_count> known;
  PromptForms forms;
  PromptList list;
  bool in_list = false;
  bool is_list = false;  // the prompt
  bool writing = false;  // the beginning of the text is written
  bool late = false;     // and was not all of it
  bool unsure = false;
  bool ended = false;
};

PromptScan::PromptScan(Endpoint endpoint, Tokens tokens, PromptSink& sink)
    : state_(std::make_unique<State>(endpoint, tokens, sink)) {}
PromptScan::~PromptScan() = default;
PromptScan::PromptScan(PromptScan&&) noexcept = default;

void PromptScan::grown(std::string_view body) {
  State& state = *state_;
  if (!state.unsure) state.unsure = !state.scan_on(body) || !state.write_some(body);
}

bool PromptScan::State::scan_on(std::string_view body) {
  for (;;) {
    const Token token = scan.next(body);
    if (token == Token::failed) return false;
    if (token == Token::more || token == Token::end) {
      ended = token == Token::end;
      return scan.check_utf8(body);
    }
    if (!take(token, body)) return false;
  }
}

// Depth 1 is inside the body's object.
bool PromptScan::State::take(Token token, std::string_view body) {
  if (in_list) {
    const PromptList::Step step = list.take(token, scan, body);
    if (step == PromptList::Step::done) {
      in_list = false;
      known.container_ended(scan);
    }
    return step != PromptList::Step::unsure;
  }
  switch (scan.depth()) {
    case 0:
      return token == Token::object_end;
    case 1:
      if (token == Token::key) return known.key(field_names, scan.string(body));
      if (opens(token)) return token == Token::object;
      if (token == Token::object_end || token == Token::array_end) {
        known.container_ended(scan);
      } else {
        known.value(scan, token, body);
      }
      return value_known();
    case 2:
      if (!opens(token)) return true;
      known.value(scan, token, body);
      if (token == Token::array) list_begins();
      return true;
    default:
      return true;
  }
}

// With a field's value complete.
bool PromptScan::State::value_known() {
  const std::size_t field = known.at;
  if (field == field_count || !known.values[field].is_given()) return true;
  if (endpoint == Endpoint::embeddings && field == messages) return false;
  const bool of_responses = endpoint == Endpoint::responses;
  late |=
      writing && (field == tools || field == functions || (of_responses && field == instructions));
  return true;
}

void PromptScan::State::list_begins() {
  const bool has_lists = endpoint == Endpoint::chat || endpoint == Endpoint::responses;
  if (!has_lists || known.at != prompt_field(endpoint)) return;
  in_list = is_list = true;
  list.begin(scan.depth());
}

// Messages are written in large steps, and not at once: more often than not, what comes before them
// in the text comes soon after them in the body.
bool PromptScan::State::write_some(std::string_view body) {
  if (!is_list || late || scan.position() - list.written_to() < worth_writing_bytes) return true;
  PromptWriter out(sink);
  return (writing || write_beginning(body, out)) && list.write(body, out);
}

bool PromptScan::State::write_beginning(std::string_view body, PromptWriter& out) {
  writing = true;
  for (const Field field : {tools, functions}) {
    if (!value(field).is_given()) continue;
    out.attachment(field_names[field]);
    if (!out.json(body, value(field))) return false;
  }
  if (endpoint == Endpoint::responses && value(instructions).is_given()) {
    if (!value(instructions).is_string()) return false;
    list.instructions(value(instructions).string(body), out);
  }
  return true;
}

bool PromptScan::State::write_rest(std::string_view body) {
  if (late) {
    sink.restart();
    list.restart();
    writing = false;
  }
  PromptWriter out(sink);
  const JsonValue& prompt_value = value(prompt_field(endpoint));
  const bool has_lists = endpoint == Endpoint::chat || endpoint == Endpoint::responses;
  if (!has_lists) return forms.read(prompt_value, body, out);
  if (!writing && !write_beginning(body, out)) return false;
  if (is_list) return list.write(body, out);
  if (endpoint == Endpoint::chat || !prompt_value.is_string()) return false;
  out.message({"user"});
  out.text(prompt_value.string(body));
  return true;
}

std::optional<PromptFields> PromptScan::finish(std::string_view body) {
  State& state = *state_;
  if (state.unsure || !state.scan_on(body)) return std::nullopt;
  if (!state.ended || !state.read_options(body)) return std::nullopt;
  if (!state.value(prompt_field(state.endpoint)).is_given()) return std::nullopt;
  if (state.endpoint == Endpoint::chat && state.list.size() == 0) return std::nullopt;
  if (!state.write_rest(body)) return std::nullopt;
  state.fields.system_key = state.list.system_key();
  if (state.tokens == Tokens::wanted && !state.read_token_fields(body)) return std::nullopt;
  return std::move(state.fields);
}

bool PromptScan::State::read_options(std::string_view body) {
  if (!value(model).is_string()) return false;
  fields.model = unescaped(value(model).string(body));
  if (fields.model.empty()) return false;
  if (value(user).is_given()) {
    if (!value(user).is_string()) return false;
    fields.user = unescaped(value(user).string(body));
  }
  if (value(stream).is_given()) {
    fields.stream = value(stream).kind == Token::yes;
    if (!fields.stream && value(stream).kind != Token::no) return false;
  }
  if (value(stream_options).is_given() && !read_stream_options(body)) return false;
  // The newer name wins where both are given.
  for (const Field field : {max_tokens, max_output_tokens, max_completion_tokens}) {
    if (!value(field).is_given()) continue;
    const auto count = count_of(value(field).spelled(body));
    if (value(field).kind != Token::number || !count) return false;
    fields.max_tokens = *count;
  }
  return true;
}

bool PromptScan::State::read_stream_options(std::string_view body) {
  if (value(stream_options).kind != Token::object) return false;
  JsonScan options(value(stream_options).begin);
  KnownFields<1> include;
  options.next(body);
  for (;;) {
    const Token token = options.next(body);
    if (options.depth() == 0) return true;
    if (options.depth() != 1) {
      if (include.at == 0) return false;  // in a list or an object
      continue;
    }
    if (token == Token::key) {
      if (!include.key(option_names, options.string(body))) return false;
    } else if (include.at == 0) {
      include.value(options, token, body);
      fields.include_usage = token == Token::yes;
      if (token != Token::yes && token != Token::no && token != Token::null) return false;
    }
  }
}

bool PromptScan::State::read_token_fields(std::string_view body) {
  if (endpoint == Endpoint::chat) fields.token_form = TokenForm::messages;
  if (endpoint == Endpoint::completions) fields.token_form = forms.form;
  if (fields.token_form != TokenForm::given) fields.tokens.clear();
  if (value(cache_salt).is_string()) fields.cache_salt = unescaped(value(cache_salt).string(body));
  TemplateFields template_fields;
  for (std::size_t i = 0; i < template_fields.size(); ++i) {
    const JsonValue& of = known.values[chat_template + i];
    if (!of.is_given()) continue;
    KeptText text;
    PromptWriter out(text);
    if (!out.json(body, of)) return false;
    out.flush();
    template_fields[i] = std::move(text.kept);
  }
  fields.template_key = template_key(endpoint, template_fields);
  return true;
}

}  // namespace dualmesh::net
