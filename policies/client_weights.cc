#include "policies/client_weights.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <vector>

namespace dualmesh::policies {

namespace {

constexpr std::size_t kKeyDigits = 16;

template <class Number, class... Base>
bool read_number(std::string_view text, Number& number, Base... base) {
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number, base...);
  return error == std::errc{} && stopped == end;
}

std::string read_item(std::string_view item, std::uint64_t& client, double& weight) {
  const std::size_t at = item.rfind('=');
  const std::string_view name = item.substr(0, at);
  if (at == std::string_view::npos || name.empty()) {
    return "a weight is NAME=WEIGHT or #KEY=WEIGHT";  // not the item: it may be a secret
  }
  if (!read_number(item.substr(at + 1), weight) ||
      !(weight >= ClientWeights::kLeast && weight <= ClientWeights::kMost)) {
    return "'" + std::string(item.substr(at + 1)) + "' is no weight; allowed: 0.001 to 1000";
  }
  if (name.front() != '#') {
    client = client_key(name);
  } else if (name.size() != kKeyDigits + 1 || !read_number(name.substr(1), client, 16)) {
    return "a key is # and 16 hexadecimal digits";
  }
  return {};
}

}  // namespace

std::uint64_t client_key(std::string_view name) {
  return name.empty() ? 0 : XXH3_64bits(name.data(), name.size());
}

std::string client_key_text(std::uint64_t key) {
  char digits[kKeyDigits];
  const auto end = std::to_chars(digits, digits + sizeof digits, key, 16).ptr;
  const std::string text(digits, end);
  return '#' + std::string(kKeyDigits - text.size(), '0') + text;
}

std::string ClientWeights::read(std::span<const std::string> items) {
  Table table;
  for (const std::string& item : items) {
    std::uint64_t client = 0;
    double weight = 1;
    if (std::string problem = read_item(item, client, weight); !problem.empty()) return problem;
    if (!table.emplace(client, weight).second) return "a client has two weights";
    if (table.size() > kMaxClients) {
      return "more than " + std::to_string(kMaxClients) + " clients have weights";
    }
  }
  *this = made_of(std::move(table));
  return {};
}

ClientWeights ClientWeights::made_of(Table table) {
  ClientWeights made;
  if (!table.empty()) made.weights_ = std::make_shared<const Table>(std::move(table));
  return made;
}

ClientWeights ClientWeights::overlaid(const ClientWeights& over) const {
  if (!over.weights_) return *this;
  if (!weights_) return over;
  Table table = *over.weights_;
  table.insert(weights_->begin(), weights_->end());  // what is there stays
  return made_of(std::move(table));
}

ClientWeights ClientWeights::without(std::span<const std::uint64_t> clients) const {
  if (!weights_) return *this;
  Table table = *weights_;
  for (const std::uint64_t client : clients) table.erase(client);
  return made_of(std::move(table));
}

std::string ClientWeights::text() const {
  if (!weights_) return {};
  std::vector<std::pair<std::uint64_t, double>> sorted(weights_->begin(), weights_->end());
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  for (const auto& [client, weight] : sorted) {
    char number[32];
    const auto end = std::to_chars(number, number + sizeof number, weight).ptr;
    text += (text.empty() ? "" : ",") + client_key_text(client) + '=' + std::string(number, end);
  }
  return text;
}

std::string ClientWeights::read_text(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    items.emplace_back(text.substr(0, text.find(',')));
    text.remove_prefix(std::min(text.size(), items.back().size() + 1));
  }
  return read(items);
}

bool ClientWeights::operator==(const ClientWeights& other) const {
  if (weights_ == other.weights_) return true;
  return weights_ && other.weights_ && *weights_ == *other.weights_;
}

}  // namespace dualmesh::policies
