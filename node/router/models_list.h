// The models of an instance as its /v1/models says, and the merged list that this node answers.
//
// Threads: pure functions of values.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policies/fleet_view.h"

namespace dualmesh::node {

// Of models by name: is it an adapter of another? What has no entry is not known.
using ModelKinds = std::map<std::string, bool, std::less<>>;

struct ListedModel {
  std::string id;
  std::string json;      // the instance's own object for it
  bool adapter = false;  // of another model: its `parent` is said
};

// Nothing when the body is not a list of models. At most 4,096 entries are taken.
std::optional<std::vector<ListedModel>> parse_models(std::string_view body);

// One object per routable model of the view: as its instance described it (`listed`, by slot), or a
// plain one where no instance has been heard.
std::vector<ListedModel> merge_models(const policies::FleetView& view,
                                      const std::vector<std::vector<ListedModel>>& listed);
std::string models_json(const std::vector<ListedModel>& models);  // {"object":"list","data":[...]}

}  // namespace dualmesh::node
