// PolicySpec: a policy or a queue order by name, with parameters: `load_cache_score:alpha=0.7`.
//
//   NAME[:KEY=NUMBER[,KEY=NUMBER]...]      and, where routing is chosen,      POLICY[@ORDER]
//
// Each policy lists its parameters with what they mean, their default and their range; whatever is
// not named keeps its default.
//
// Threads: values.
#pragma once

#include <boost/container/small_vector.hpp>
#include <span>
#include <string>
#include <string_view>

namespace dualmesh::policies {

struct Parameter {
  std::string_view name;
  double initial = 0;
  double least = 0;
  double most = 0;
  std::string_view meaning;  // with its unit
};

class ParameterValues {
 public:
  explicit ParameterValues(std::span<const Parameter> parameters = {});
  double operator[](std::size_t i) const { return values_[i]; }  // in the order of the list

  // Empty, or what is wrong with `text` (KEY=NUMBER[,...]) and what is allowed.
  std::string read(std::string_view text);

 private:
  std::span<const Parameter> parameters_;
  boost::container::small_vector<double, 8> values_;
};

struct PolicySpec {
  std::string_view name;
  std::string_view parameters;
};
PolicySpec split_spec(std::string_view spec);

struct RoutingSpec {
  std::string_view policy;
  std::string_view order;
  bool names_order = false;  // else the policy's own
};
RoutingSpec split_routing(std::string_view spec);

}  // namespace dualmesh::policies
