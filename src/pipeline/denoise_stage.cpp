#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <cmath>

#include "base/transfer.h"
#include "diffusion/guidance.h"
#include "pipeline/stages.h"

namespace ltxv {
namespace {

GuidanceSettings settings_of(const StepGuidance& g, const Request& r) {
  // One option, two meanings: in a run with spatio-temporal guidance the official rescaling (1 = off, and steps without that
  // guidance are not rescaled), else diffusers' (0 = off).
  const bool official = std::any_of(r.stg_scales.begin(), r.stg_scales.end(), [](double scale) { return scale > 0; });
  return {.scale = g.scale,
          .cfg_rescale = official ? 0 : g.rescale,
          .stg_scale = g.stg_scale,
          .stg_rescale = official ? g.rescale : 1,
          .cfg_star = *r.cfg_star};
}

SkipMode skip_mode_of(const std::string& name) {
  if (name == "attention_skip") return SkipMode::attention_skip;
  if (name == "residual") return SkipMode::residual;
  if (name == "transformer_block") return SkipMode::transformer_block;
  return SkipMode::attention_values;
}

}  // namespace

Predictor::Predictor(Engine::Impl& engine, const at::Tensor& coordinates, const Prompts& prompts, const ResolvedRequest& resolved,
                     const PlacementPlan& plan)
    : engine_(engine), resolved_(resolved), transformer_(engine.weights.transformer(plan, resolved.request.loras)) {
  const at::Tensor positions = to_positions(coordinates, resolved.frames_per_second);
  if (engine.devices.size() > 1) {
    share(positions, plan);
    ranks_->add_prompt(prompts.positive.embeds, prompts.positive.mask);
    if (prompts.negative.embeds.defined()) ranks_->add_prompt(prompts.negative.embeds, prompts.negative.mask);
    return;
  }
  rope_ = transformer_->rope_table(positions);
  positive_ = transformer_->prepare_prompt(prompts.positive.embeds, prompts.positive.mask);
  if (prompts.negative.embeds.defined()) negative_ = transformer_->prepare_prompt(prompts.negative.embeds, prompts.negative.mask);
  if (plan.cuda_graphs && transformer_->is_resident() && device().is_cuda()) graphs_ = engine.weights.graphs_of(transformer_);
  if (graphs_) lease_ = graphs_->lease();
}

void Predictor::share(const at::Tensor& positions, const PlacementPlan& plan) {
  std::vector<std::shared_ptr<const Transformer>> transformers = {transformer_};
  for (size_t rank = 1; rank < engine_.devices.size(); ++rank)
    transformers.push_back(engine_.weights.transformer(plan, resolved_.request.loras, rank));
  std::vector<c10::Stream> streams;
  if (!device().is_cpu()) {
    streams.push_back(c10::impl::VirtualGuardImpl(device().type()).getStream(device()));
    for (size_t i = 1; i < engine_.streams.size(); ++i) streams.push_back(streams_.emplace_back(engine_.streams[i]).get());
  }
  ranks_ = std::make_unique<TransformerRanks>(std::move(transformers), std::move(streams), engine_.thread_count, positions);
}

Predictor::~Predictor() {
  try {
    wait_for(device());  // another call may take the recorded predictions, or the weights go
  } catch (...) {        // the device failed; whoever asked it for something knows
  }
}

at::Tensor Predictor::velocities(const Sample& sample, const std::vector<bool>& negative, const Perturbation* perturbation,
                                 const RunContext& run) {
  if (ranks_) {
    const std::lock_guard lock(engine_.one_shared_run);
    return ranks_->forward({sample.tokens, sample.sigmas, {negative.begin(), negative.end()}, perturbation}, run);
  }
  std::vector<const PromptContext*> prompts;
  for (const bool is_negative : negative) prompts.push_back(is_negative ? &negative_ : &positive_);
  const NoiseLevels levels = transformer_->noise_levels(sample.sigmas);
  const StepInputs inputs{.tokens = sample.tokens, .levels = levels, .rope = rope_, .prompts = prompts, .perturbation = perturbation};
  return lease_ ? graphs_->forward(*transformer_, lease_, inputs, run) : transformer_->forward(inputs, run);
}

ops::GuidanceTerms Predictor::predict(const Sample& sample, const RunContext& run) {
  const StepGuidance& step = resolved_.guidance[sample.step];
  const GuidanceSettings guidance = settings_of(step, resolved_.request);
  const Perturbation perturbation{step.skip_blocks, skip_mode_of(resolved_.request.stg_mode)};
  std::vector<bool> negative;  // of each pass
  if (guidance.needs_negative()) negative.push_back(true);
  negative.push_back(false);
  if (guidance.needs_perturbed()) negative.push_back(false);
  const auto out = velocities(sample, negative, guidance.needs_perturbed() ? &perturbation : nullptr, run);
  const int64_t positive = guidance.needs_negative() ? 1 : 0;
  return guidance_terms(out.narrow(0, positive, 1), guidance.needs_negative() ? out.narrow(0, 0, 1) : at::Tensor(),
                        guidance.needs_perturbed() ? out.narrow(0, positive + 1, 1) : at::Tensor(), guidance);
}

bool needs_negative(const ResolvedRequest& resolved) {
  return std::any_of(resolved.guidance.begin(), resolved.guidance.end(),
                     [&](const StepGuidance& g) { return settings_of(g, resolved.request).needs_negative(); });
}

int64_t most_predictions(const ResolvedRequest& resolved) {
  int64_t most = 1;
  for (const StepGuidance& g : resolved.guidance) {
    const auto settings = settings_of(g, resolved.request);
    most = std::max<int64_t>(most, 1 + settings.needs_negative() + settings.needs_perturbed());
  }
  return most;
}

void StepWatch::done(int64_t step, const at::Tensor& tokens) {
  Pending p{.step = step, .sum = tokens.sum(), .written = std::nullopt};
  if (!tokens.is_cpu()) {
    const at::Device device = tokens.device();
    const at::Tensor on_host = at::empty({}, at::TensorOptions().dtype(p.sum.scalar_type()).pinned_memory(device.is_cuda()));
    p.sum = on_host.copy_(p.sum, /*non_blocking=*/true);
    p.written.emplace(device.type());
    p.written->record(c10::impl::VirtualGuardImpl(device.type()).getStream(device));
  }
  pending_.push_back(std::move(p));
  constexpr size_t kAhead = 2;
  while (!pending_.empty() && (!pending_.front().written || pending_.size() > kAhead || pending_.front().written->query())) check_first();
}

void StepWatch::finish() {
  while (!pending_.empty()) check_first();
}

void StepWatch::check_first() {
  const Pending p = std::move(pending_.front());
  pending_.pop_front();
  if (p.written) p.written->synchronize();
  LTXV_REQUIRE(NumericError, std::isfinite(p.sum.item<float>()), "latents became NaN or Inf at step ", p.step, " of ", step_count_, where_);
}

void denoise_stage(Engine::Impl& engine, SamplerState& state, const at::Tensor& coordinates, const Prompts& prompts,
                   const ResolvedRequest& resolved, NoiseSource& noise, const PlacementPlan& plan, RunContext& run) {
  const Request& r = resolved.request;
  Predictor predictor(engine, coordinates, prompts, resolved, plan);
  state.tokens = to_device(state.tokens, predictor.device());
  state.clean_tokens = to_device(state.clean_tokens, predictor.device());
  StepWatch watch(state.step_count());
  while (!state.finished()) {
    run.report(Stage::denoise, resolved.first_step + state.step, resolved.all_steps);
    if (state.strength.defined() && *r.image_noise_scale > 0)
      renoise_kept_tokens(state, *r.image_noise_scale, noise.draw(indexed_name("image_step", state.step), state.tokens.sizes()));
    const auto predictions = predictor.predict({state.tokens, token_sigmas(state), state.step}, run);
    if (*r.stochastic) {
      stochastic_step(state, ops::guided_velocity(predictions), noise.draw(indexed_name("stochastic", state.step), state.tokens.sizes()));
    } else {
      euler_step(state, predictions);
    }
    state.draw_count = static_cast<int64_t>(noise.drawn().size());
    watch.done(state.step, state.tokens);
  }
  watch.finish();
  state.tokens = to_host(state.tokens);
  state.clean_tokens = to_host(state.clean_tokens);
  run.report(Stage::denoise, resolved.first_step + state.step, resolved.all_steps);
}

}  // namespace ltxv
