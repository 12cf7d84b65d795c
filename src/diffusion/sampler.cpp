#include "diffusion/sampler.h"

#include "base/error.h"
#include "base/transfer.h"

namespace ltxv {
namespace {

constexpr float kSigmaSlack = 1e-6f;  // the reference's own, in f32: <= or double flips tokens whose level equals 1 - strength

at::Tensor integers(std::vector<int64_t> values) { return at::tensor(values, at::kLong); }

}  // namespace

std::map<std::string, at::Tensor> SamplerState::to_tensors() const {
  std::map<std::string, at::Tensor> tensors = {
      {"tokens", tokens},
      {"sigmas", at::tensor(sigmas, at::kFloat)},
      {"counters", integers({step, static_cast<int64_t>(seed), draw_count, static_cast<int64_t>(condition_hash)})}};
  if (strength.defined()) {
    tensors["strength"] = strength;
    tensors["clean_tokens"] = clean_tokens;
  }
  return tensors;
}

SamplerState SamplerState::from_tensors(const std::map<std::string, at::Tensor>& tensors) {
  const auto get = [&](const char* name, int64_t dim) {
    const auto it = tensors.find(name);
    LTXV_REQUIRE(BadWeights, it != tensors.end(), "sampler state: tensor \"", name, "\" is missing");
    LTXV_REQUIRE(BadWeights, it->second.dim() == dim, "sampler state: \"", name, "\" has ", it->second.dim(), " axes, not ", dim);
    return it->second.contiguous();
  };
  SamplerState state;
  state.tokens = get("tokens", 3);
  const auto sigmas = get("sigmas", 1), counters = get("counters", 1);
  LTXV_REQUIRE(BadWeights, counters.numel() == 4 && counters.scalar_type() == at::kLong && sigmas.scalar_type() == at::kFloat,
               "sampler state: counters i64 [4] and sigmas f32 expected");
  state.sigmas.assign(sigmas.const_data_ptr<float>(), sigmas.const_data_ptr<float>() + sigmas.numel());
  const auto* c = counters.const_data_ptr<int64_t>();
  state.step = c[0], state.seed = static_cast<uint64_t>(c[1]), state.draw_count = c[2];
  state.condition_hash = static_cast<uint64_t>(c[3]);
  LTXV_REQUIRE(BadWeights, state.step >= 0 && state.step <= state.step_count(), "sampler state: step ", state.step,
               " is not between 0 and ", state.step_count());
  if (tensors.count("strength")) {
    state.strength = get("strength", 1);
    state.clean_tokens = get("clean_tokens", 3);
    LTXV_REQUIRE(BadWeights, state.strength.size(0) == state.tokens.size(1) && state.clean_tokens.sizes() == state.tokens.sizes(),
                 "sampler state: strength ", state.strength.sizes(), " and clean_tokens ", state.clean_tokens.sizes(),
                 " do not fit tokens ", state.tokens.sizes());
  }
  return state;
}

at::Tensor token_sigmas(const SamplerState& state) {
  const auto sigma = at::full({1}, state.sigmas[state.step], at::kFloat);
  return state.strength.defined() ? at::minimum(sigma, 1 - state.strength) : sigma;
}

namespace {

// Where every token stands and where this step takes it: [1] or [N], f32.
struct Levels {
  at::Tensor from, to;
};

Levels step_levels(const SamplerState& state) {
  LTXV_ASSERT(!state.finished(), "step after the last one");
  const auto own = token_sigmas(state);
  if (!state.strength.defined()) return {own, at::full({1}, state.sigmas[state.step + 1], at::kFloat)};
  // Largest schedule entry below each token's level: [S,1] against [1,N].
  const auto schedule = at::tensor(state.sigmas, at::kFloat).unsqueeze(1);
  return {own, at::where(schedule < own.unsqueeze(0) - kSigmaSlack, schedule, at::zeros({1}, at::kFloat)).amax(0)};
}

// Takes `moved` for the tokens that the schedule has come down to, and goes to the next step.
void finish_step(SamplerState& state, const at::Tensor& moved) {
  if (state.strength.defined()) {
    const auto moves = (at::full({1}, state.sigmas[state.step] - kSigmaSlack, at::kFloat) < 1 - state.strength).unsqueeze(-1);
    state.tokens = at::where(to_device(moves, moved.device()), moved, state.tokens);
  } else {
    state.tokens = moved;
  }
  ++state.step;
}

}  // namespace

void euler_step(SamplerState& state, const at::Tensor& velocity) { euler_step(state, ops::GuidanceTerms{.positive = velocity}); }

void euler_step(SamplerState& state, const ops::GuidanceTerms& predictions) {
  const auto levels = step_levels(state);
  const at::Tensor step = levels.to - levels.from;
  at::Tensor moved = state.tokens.clone();
  if (step.numel() == 1) {
    ops::guided_step_(moved, predictions, step.item<float>(), {});
  } else {
    ops::guided_step_(moved, predictions, 0, to_device(step, moved.device()));
  }
  finish_step(state, moved);
}

void stochastic_step(SamplerState& state, const at::Tensor& velocity, const at::Tensor& noise) {
  const auto levels = step_levels(state);
  const auto from = to_device(levels.from.unsqueeze(-1), velocity.device()), to = to_device(levels.to.unsqueeze(-1), velocity.device());
  const auto clean = state.tokens - velocity * from;
  finish_step(state, clean * (1 - to) + to_device(noise, velocity.device()) * to);
}

void renoise_kept_tokens(SamplerState& state, double scale, const at::Tensor& noise) {
  LTXV_ASSERT(state.strength.defined(), "no conditions to add noise to");
  const double sigma = state.sigmas[state.step];
  const auto kept = to_device((state.strength > 1.0f - kSigmaSlack).unsqueeze(-1), state.tokens.device());
  state.tokens = at::where(kept, state.clean_tokens + to_device(noise, state.tokens.device()) * (scale * sigma * sigma), state.tokens);
}

}  // namespace ltxv
