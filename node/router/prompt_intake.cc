#include "node/router/prompt_intake.h"

#include <utility>

namespace dualmesh::node {

ReadPrompt cut_prompt(net::PromptFields fields, const policies::ChainParameters& parameters,
                      const NamespaceSalt& salt) {
  policies::PromptChainBuilder builder(parameters);
  builder.update(fields.canonical);
  policies::PromptChain chain = builder.finish(salt.name_space(fields.model));
  return {std::move(fields), parameters, std::move(chain)};
}

std::optional<ReadPrompt> PromptIntake::finish(std::string_view body, const NamespaceSalt& salt) {
  auto fields = scan_.finish(body);
  if (!fields) return std::nullopt;
  fields->canonical = std::move(sink_.kept);
  policies::PromptChain chain = sink_.builder.finish(salt.name_space(fields->model));
  return ReadPrompt{std::move(*fields), sink_.builder.parameters(), std::move(chain)};
}

}  // namespace dualmesh::node
