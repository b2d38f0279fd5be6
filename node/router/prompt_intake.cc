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
  std::optional<ReadPrompt> prompt;  // made where the caller keeps it
  auto fields = scan_.finish(body);
  if (!fields) return prompt;
  prompt.emplace();
  prompt->fields = std::move(*fields);
  prompt->fields.canonical = std::move(sink_.kept);
  prompt->parameters = sink_.builder.parameters();
  prompt->chain = sink_.builder.finish(salt.name_space(prompt->fields.model));
  return prompt;
}

}  // namespace dualmesh::node
