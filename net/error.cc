#include "net/error.h"

#include <spdlog/spdlog.h>

#include <cstdlib>

namespace dualmesh::net {

void throw_exception_from_error(const Error& error, const boost::source_location& at) {
  check_failed("result has a value", at.file_name(), static_cast<int>(at.line()), error.message);
}

void check_failed(const char* expression, const char* file, int line, const std::string& operands) {
  spdlog::critical("{}:{}: CHECK({}) failed: {}", file, line, expression, operands);
  spdlog::default_logger()->flush();
  std::abort();
}

}  // namespace dualmesh::net
