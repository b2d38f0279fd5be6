#include "node/router/prompt_intake.h"

#include <utility>

namespace dualmesh::node {

ReadPrompt cut_prompt(net::PromptFields fields, const policies::ChainParameters& parameters) {
  policies::PromptChainBuilder builder(parameters);
  builder.update(fields.canonical);
  policies::PromptChain chain = builder.finish(fields.model);
  return {std::move(fields), parameters, std::move(chain)};
}

std::optional<ReadPrompt> PromptIntake::finish(std::string_view body) {
  auto fields = scan_.finish(body);
  if (!fields) return std::nullopt;
  fields->canonical = std::move(sink_.kept);
  policies::PromptChain chain = sink_.builder.finish(fields->model);
  return ReadPrompt{std::move(*fields), sink_.builder.parameters(), std::move(chain)};
}

}  // namespace dualmesh::node
