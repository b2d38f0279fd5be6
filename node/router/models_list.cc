#include "node/router/models_list.h"

#include <nlohmann/json.hpp>

#include "net/json_depth.h"

namespace dualmesh::node {
namespace {

using Json = nlohmann::json;
constexpr std::size_t kMostModels = 4'096;

// vLLM and SGLang list a LoRA adapter with the model it is of.
bool is_adapter(const Json& model) {
  const auto parent = model.find("parent");
  return parent != model.end() && parent->is_string() && *parent != "" && *parent != model["id"];
}

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string plain_model(const std::string& id) {
  return dump({{"id", id}, {"object", "model"}, {"created", 0}, {"owned_by", "dualmesh"}});
}

}  // namespace

std::optional<std::vector<ListedModel>> parse_models(std::string_view body) {
  if (net::is_nested_deeper(body)) return std::nullopt;
  const Json answer = Json::parse(body, nullptr, false);
  if (!answer.is_object() || !answer.contains("data") || !answer["data"].is_array()) {
    return std::nullopt;
  }
  std::vector<ListedModel> models;
  for (const Json& model : answer["data"]) {
    if (models.size() == kMostModels) break;
    if (!model.is_object() || !model.contains("id") || !model["id"].is_string()) continue;
    models.push_back({model["id"].get<std::string>(), dump(model), is_adapter(model)});
  }
  return models;
}

std::vector<ListedModel> merge_models(const policies::FleetView& view,
                                      const std::vector<std::vector<ListedModel>>& listed) {
  std::vector<ListedModel> merged;
  for (const auto& [id, model] : view.models) {
    if (model.serving.empty()) continue;
    const std::string* described = nullptr;
    for (const policies::Slot slot : model.serving) {
      if (described || slot >= listed.size()) continue;
      for (const ListedModel& candidate : listed[slot]) {
        if (candidate.id == id) described = &candidate.json;
      }
    }
    merged.push_back({id, described ? *described : plain_model(id), false});
  }
  return merged;
}

std::string models_json(const std::vector<ListedModel>& models) {
  std::string out = R"({"object":"list","data":[)";
  for (std::size_t i = 0; i < models.size(); ++i) {
    if (i > 0) out += ',';
    out += models[i].json;
  }
  return out + "]}";
}

}  // namespace dualmesh::node
