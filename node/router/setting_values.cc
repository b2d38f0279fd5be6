// Values in and out of settings: fitting, describing, printing.
#include <arpa/inet.h>
#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "net/destination.h"
#include "node/router/settings_table.h"
#include "policies/policy_registry.h"

namespace dualmesh::node {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

enum class Shape { flag, whole, real, text, texts };

Shape shape_of(const Setting& setting) {
  return std::visit(Overloaded{[](PlaceOf<bool>) { return Shape::flag; },
                               [](PlaceOf<double>) { return Shape::real; },
                               [](PlaceOf<std::string>) { return Shape::text; },
                               [](PlaceOf<std::vector<std::string>>) { return Shape::texts; },
                               [](auto) { return Shape::whole; }},
                    setting.place);
}

bool is_ip(const std::string& host) {
  unsigned char address[16];
  return inet_pton(AF_INET, host.c_str(), address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address) == 1;
}

bool text_fits(const Setting& setting, const std::string& text) {
  net::HostPort parsed;
  const auto is_address = [&] {
    return net::split_destination(text, parsed, net::PortZero::allowed);
  };
  switch (setting.rule) {
    case TextRule::any:
      return true;
    case TextRule::not_empty:
      return !text.empty();
    case TextRule::address:
      return is_address();
    case TextRule::ip_address:
      return is_address() && is_ip(parsed.host);
    case TextRule::ip_address_or_empty:
      return text.empty() || (is_address() && is_ip(parsed.host));
    case TextRule::address_or_empty:
      return text.empty() || is_address();
    case TextRule::one_of:
      return std::ranges::find(setting.allowed, text) != setting.allowed.end();
    case TextRule::policy:
      return policies::is_policy(text);
    case TextRule::queue_order:
      return text.empty() || policies::is_queue_order(text);
  }
  return false;
}

std::string describe_text(const Setting& setting, std::string_view any) {
  switch (setting.rule) {
    case TextRule::any:
      return std::string(any);
    case TextRule::not_empty:
      return fmt::format("{}, not empty", any);
    case TextRule::address:
      return fmt::format("{} of the form HOST:PORT", any);
    case TextRule::ip_address:
      return fmt::format("{} of the form IP:PORT or [IPV6]:PORT", any);
    case TextRule::ip_address_or_empty:
      return fmt::format("{} of the form IP:PORT or [IPV6]:PORT, or empty", any);
    case TextRule::address_or_empty:
      return fmt::format("{} of the form HOST:PORT, or empty", any);
    case TextRule::one_of:
      return fmt::format("one of {}", fmt::join(setting.allowed, ", "));
    case TextRule::policy:
      return "the name of a policy (policies/README.md), or NAME:KEY=NUMBER,... for other "
             "parameters, and then @ORDER for another order of waiting";
    case TextRule::queue_order:
      return "the name of an order of waiting (policies/README.md), with or without parameters, or "
             "empty";
  }
  return {};
}

std::string short_number(double number) {
  return number == std::floor(number) && std::abs(number) < 1e15
             ? fmt::format("{}", static_cast<std::int64_t>(number))
             : fmt::format("{}", number);
}

// Splits "a,b" and drops spaces around; an empty text is an empty list.
std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::size_t first = text.find_first_not_of(' ', begin);
    const std::size_t last = text.find_last_not_of(' ', end == 0 ? 0 : end - 1);
    if (first < end) out.push_back(text.substr(first, last + 1 - first));
    begin = end + 1;
  }
  return out;
}

template <class Number>
bool parse_number(const std::string& text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

// Stores a fitting value; false when it has another type or is out of range.
bool try_store(const Setting& setting, const RawValue& value, Config& config) {
  const auto in_range = [&](double number) {
    return number >= setting.least && number <= setting.most;
  };
  const auto* whole = std::get_if<std::int64_t>(&value);
  const auto whole_fits = [&] { return whole && in_range(static_cast<double>(*whole)); };
  return std::visit(
      Overloaded{[&](PlaceOf<bool> place) {
                   const bool* flag = std::get_if<bool>(&value);
                   if (flag) place(config) = *flag;
                   return flag != nullptr;
                 },
                 [&](PlaceOf<double> place) {
                   const double* real = std::get_if<double>(&value);
                   const double number = real ? *real : whole ? static_cast<double>(*whole) : NAN;
                   if (!in_range(number)) return false;
                   place(config) = number;
                   return true;
                 },
                 [&](PlaceOf<std::string> place) {
                   const auto* text = std::get_if<std::string>(&value);
                   if (!text || !text_fits(setting, *text)) return false;
                   place(config) = *text;
                   return true;
                 },
                 [&](PlaceOf<std::vector<std::string>> place) {
                   const auto* texts = std::get_if<std::vector<std::string>>(&value);
                   if (!texts) return false;
                   for (const std::string& text : *texts) {
                     if (!text_fits(setting, text)) return false;
                   }
                   place(config) = *texts;
                   return true;
                 },
                 [&](auto place) {
                   if (!whole_fits()) return false;
                   using Value = std::remove_reference_t<decltype(place(config))>;
                   place(config) = static_cast<Value>(*whole);
                   return true;
                 }},
      setting.place);
}

}  // namespace

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04X}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string describe_allowed(const Setting& setting) {
  const auto range = [&](const char* kind) {
    return fmt::format("{} from {} to {}", kind, short_number(setting.least),
                       short_number(setting.most));
  };
  switch (shape_of(setting)) {
    case Shape::flag:
      return "true or false";
    case Shape::whole:
      return range("a whole number");
    case Shape::real:
      return range("a number");
    case Shape::text:
      return describe_text(setting, "a text");
    case Shape::texts:
      return "a list, each entry " + describe_text(setting, "a text");
  }
  return {};
}

std::optional<std::string> store(const Setting& setting, const RawValue& value, Config& config) {
  if (try_store(setting, value, config)) return std::nullopt;
  const auto* text = std::get_if<std::string>(&value);
  if (setting.rule == TextRule::policy && text != nullptr) {
    return fmt::format("{}: {}", setting.key, policies::check_policy(*text));
  }
  if (setting.rule == TextRule::queue_order && text != nullptr) {
    return fmt::format("{}: {}", setting.key, policies::check_queue_order(*text));
  }
  return fmt::format("{}: must be {}", setting.key, describe_allowed(setting));
}

std::optional<std::string> store_text(const Setting& setting, const std::string& text,
                                      Config& config) {
  RawValue value = text;  // what cannot be parsed stays text and is refused as such
  std::int64_t whole = 0;
  double real = 0;
  switch (shape_of(setting)) {
    case Shape::flag:
      if (text == "true" || text == "false") value = text == "true";
      break;
    case Shape::whole:
      if (parse_number(text, whole)) value = whole;
      break;
    case Shape::real:
      if (parse_number(text, real)) value = real;
      break;
    case Shape::texts:
      value = split_list(text);
      break;
    case Shape::text:
      break;
  }
  return store(setting, value, config);
}

std::string value_as_toml(const Setting& setting, const Config& config) {
  auto& readable = const_cast<Config&>(config);  // places give references; nothing is written
  return std::visit(Overloaded{[&](PlaceOf<bool> place) {
                                 return std::string(place(readable) ? "true" : "false");
                               },
                               [&](PlaceOf<double> place) { return short_number(place(readable)); },
                               [&](PlaceOf<std::string> place) { return quoted(place(readable)); },
                               [&](PlaceOf<std::vector<std::string>> place) {
                                 std::vector<std::string> texts;
                                 for (const std::string& text : place(readable))
                                   texts.push_back(quoted(text));
                                 return fmt::format("[{}]", fmt::join(texts, ", "));
                               },
                               [&](PlaceOf<std::chrono::milliseconds> place) {
                                 return fmt::format("{}", place(readable).count());
                               },
                               [&](PlaceOf<std::chrono::seconds> place) {
                                 return fmt::format("{}", place(readable).count());
                               },
                               [&](auto place) { return fmt::format("{}", place(readable)); }},
                    setting.place);
}

std::string nearest_name(std::string_view name, std::span<const std::string_view> names) {
  std::string best;
  std::size_t best_distance = 3;  // further away is another word, not a slip
  for (const std::string_view candidate : names) {
    std::vector<std::size_t> row(candidate.size() + 1);  // Levenshtein, one row
    for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= name.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i;
      for (std::size_t j = 1; j < row.size(); ++j) {
        const std::size_t replace = diagonal + (name[i - 1] == candidate[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

}  // namespace dualmesh::node
