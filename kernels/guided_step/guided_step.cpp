#include "guided_step/guided_step.h"

#include <utility>

#include "cuda_plugin.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct Args {
  at::Tensor& tokens;
  const GuidanceTerms& terms;
  double step;
  const at::Tensor& token_step;
};

// x * (r * std(reference) / std(x) + 1 - r), unbiased deviations over the whole sample.
at::Tensor restore_deviation(const at::Tensor& x, const at::Tensor& reference, double r) {
  return x * (r * reference.std() / x.std() + (1.0 - r));
}

bool reference(const Args& a) {
  const auto velocity = guided_velocity(a.terms);
  a.tokens.add_(a.token_step.defined() ? velocity * a.token_step.unsqueeze(-1) : velocity * a.step);
  return true;
}

bool fits_cuda(const Args& a) {
  const GuidanceTerms& t = a.terms;
  if (!is_cuda_float(t.positive) || !a.tokens.is_contiguous() || a.tokens.size(0) != 1 || a.tokens.numel() == 0) return false;
  for (const at::Tensor* x : {&std::as_const(a.tokens), &t.positive, &t.negative, &t.perturbed, &a.token_step})
    if (x->defined() && (x->device() != t.positive.device() || !x->is_contiguous())) return false;
  return cuda_variant_allowed("guided_step", "cuda", t.positive.device()) && cuda_plugin().table->guided_step;
}

bool cuda(const Args& a) {
  const GuidanceTerms& t = a.terms;
  const at::Tensor workspace = at::empty({gpu::kGuidedStepWorkspace}, a.tokens.options().dtype(at::kDouble));
  const auto pointer = [](const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; };
  launch_on<gpu::GuidedStepLaunch>(
      t.positive, "guided_step", cuda_plugin().table->guided_step,
      {.type = cuda_element(t.positive), .tokens = a.tokens.mutable_data_ptr<float>(), .positive = pointer(t.positive),
       .negative = pointer(t.negative), .perturbed = pointer(t.perturbed), .token_count = a.tokens.size(1),
       .width = static_cast<int32_t>(a.tokens.size(2)), .scale = static_cast<float>(t.scale),
       .cfg_rescale = static_cast<float>(t.cfg_rescale), .stg_scale = static_cast<float>(t.stg_scale),
       .stg_rescale = static_cast<float>(t.stg_rescale), .cfg_star = t.cfg_star ? 1 : 0, .step = static_cast<float>(a.step),
       .token_step = static_cast<const float*>(pointer(a.token_step)), .workspace = workspace.mutable_data_ptr<double>()});
  return true;
}

bool always(const Args&) { return true; }

constexpr Variant<Args, bool> kVariants[] = {{"cuda", fits_cuda, cuda}, {"reference", always, reference}};

}  // namespace

at::Tensor guided_velocity(const GuidanceTerms& t) {
  const auto positive = t.positive.to(at::kFloat);
  auto velocity = positive;
  if (t.negative.defined()) {
    auto base = t.negative.to(at::kFloat);
    if (t.cfg_star) base = base * ((positive * base).sum() / ((base * base).sum() + 1e-8));
    velocity = base + t.scale * (positive - base);
    if (t.cfg_rescale != 0) velocity = restore_deviation(velocity, positive, t.cfg_rescale);
  }
  if (t.perturbed.defined()) {
    velocity = velocity + t.stg_scale * (positive - t.perturbed.to(at::kFloat));
    if (t.stg_rescale != 1) velocity = restore_deviation(velocity, positive, t.stg_rescale);
  }
  return velocity;
}

void guided_step_(at::Tensor& tokens, const GuidanceTerms& terms, double step, const at::Tensor& token_step) {
  LTXV_CHECK(tokens.dim() == 3 && tokens.scalar_type() == at::kFloat, "guided_step: tokens f32 [1,N,C] expected, got ", tokens.sizes());
  for (const auto* x : {&terms.positive, &terms.negative, &terms.perturbed})
    LTXV_CHECK(x->defined() ? x->sizes() == tokens.sizes() && x->scalar_type() == terms.positive.scalar_type() : x != &terms.positive,
               "guided_step: predictions ", tokens.sizes(), " of one dtype expected");
  LTXV_CHECK(!token_step.defined() || (token_step.dim() == 1 && token_step.size(0) == tokens.size(1) && token_step.scalar_type() == at::kFloat),
             "guided_step: one f32 step a token expected");
  const Args args{tokens, terms, step, token_step};
  dispatch<Args, bool>("guided_step", kVariants, args);
}

}  // namespace ltxv::ops
