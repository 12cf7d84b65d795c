#include "base/transfer.h"
#include "pipeline/stages.h"
#include "pipeline/tensor_files.h"

namespace ltxv {

PromptEmbeds encode_prompt(Engine::Impl& engine, const std::string& prompt, int64_t max_tokens, Padding padding, const PlacementPlan& plan,
                           const RunContext& run) {
  LTXV_CHECK(engine.tokenizer, engine.spec.transformer_files.path,
             ": this model comes without a text encoder; --text-encoder and --tokenizer name one, or --prompt-embeds replaces it");
  const auto tokens = engine.tokenizer->encode(prompt, max_tokens);
  if (tokens.dropped_count > 0)
    run.log(LogLevel::warning, text("the prompt is longer than ", max_tokens, " tokens; the last ", tokens.dropped_count, " were dropped"));
  auto ids = at::tensor(tokens.ids, at::kLong).unsqueeze(0), mask = at::tensor(tokens.mask, at::kLong).unsqueeze(0);
  const int64_t real = mask.sum().item<int64_t>();
  const auto encoder = engine.weights.text_encoder(plan);
  if (padding == Padding::attend) {
    const auto all = to_host(encoder->forward(ids, at::ones_like(mask), run).to(at::kFloat));
    return {all.narrow(1, 0, real).contiguous(), mask.narrow(1, 0, real)};
  }
  if (padding == Padding::drop) {
    ids = ids.narrow(1, 0, real);
    mask = mask.narrow(1, 0, real);
  }
  return {to_host(encoder->forward(ids, mask, run).to(at::kFloat)), mask};
}

PromptEmbeds prompt_embeds(Engine::Impl& engine, const std::string& prompt, const std::string& file, const Request& request,
                           const PlacementPlan& plan, const RunContext& run) {
  if (!file.empty()) return load_prompt_embeds(file);
  const Padding padding = request.text_padding == TextPadding::attended ? Padding::attend : Padding::drop;
  return encode_prompt(engine, prompt, request.max_text_tokens, padding, plan, run);
}

}  // namespace ltxv
