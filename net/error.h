// Errors as values for everything that comes from outside, and CHECK for what cannot happen.
#pragma once

#include <spdlog/fmt/fmt.h>

#include <boost/system/result.hpp>
#include <string>

namespace dualmesh::net {

struct Error {
  std::string message;  // names the thing and what is allowed; shown to people
};

template <class T>
using Result = boost::system::result<T, Error>;

[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location& at);
[[noreturn]] void check_failed(const char* expression, const char* file, int line,
                               const std::string& operands);

}  // namespace dualmesh::net

// Aborts with its operands: CHECK(a <= b, "a={} b={}", a, b).
#define DUALMESH_CHECK(condition, ...) \
  ((condition)                         \
       ? void()                        \
       : ::dualmesh::net::check_failed(#condition, __FILE__, __LINE__, fmt::format(__VA_ARGS__)))
