#include "guided_step/guided_step.h"

#include "cuda_plugin.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

// x * (r * std(reference) / std(x) + 1 - r), unbiased deviations over the whole sample.
at::Tensor restore_deviation(const at::Tensor& x, const at::Tensor& reference, double r) {
  return x * (r * reference.std() / x.std() + (1.0 - r));
}

bool reference(const GuidedStepArgs& a) {
  const auto positive = a.positive.to(at::kFloat);
  auto velocity = positive;
  if (a.negative.defined()) {
    auto base = a.negative.to(at::kFloat);
    if (a.cfg_star) base = base * ((positive * base).sum() / ((base * base).sum() + 1e-8));
    velocity = base + a.scale * (positive - base);
    if (a.cfg_rescale != 0) velocity = restore_deviation(velocity, positive, a.cfg_rescale);
  }
  if (a.perturbed.defined()) {
    velocity = velocity + a.stg_scale * (positive - a.perturbed.to(at::kFloat));
    if (a.stg_rescale != 1) velocity = restore_deviation(velocity, positive, a.stg_rescale);
  }
  a.tokens.add_(a.token_step.defined() ? velocity * a.token_step.unsqueeze(-1) : velocity * a.step);
  return true;
}

bool fits_cuda(const GuidedStepArgs& a) {
  if (!is_cuda_float(a.positive) || !a.tokens.is_contiguous() || a.tokens.size(0) != 1 || a.tokens.numel() == 0) return false;
  for (const at::Tensor* x : std::initializer_list<const at::Tensor*>{&a.tokens, &a.positive, &a.negative, &a.perturbed, &a.token_step})
    if (x->defined() && (x->device() != a.positive.device() || !x->is_contiguous())) return false;
  return cuda_variant_allowed("guided_step", "cuda", a.positive.device()) && cuda_plugin().table->guided_step;
}

bool cuda(const GuidedStepArgs& a) {
  const at::Tensor workspace = at::empty({gpu::kGuidedStepWorkspace}, a.tokens.options().dtype(at::kDouble));
  const auto pointer = [](const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; };
  launch_on<gpu::GuidedStepLaunch>(
      a.positive, "guided_step", cuda_plugin().table->guided_step,
      {.type = cuda_element(a.positive), .tokens = a.tokens.mutable_data_ptr<float>(), .positive = pointer(a.positive),
       .negative = pointer(a.negative), .perturbed = pointer(a.perturbed), .token_count = a.tokens.size(1),
       .width = static_cast<int32_t>(a.tokens.size(2)), .scale = static_cast<float>(a.scale),
       .cfg_rescale = static_cast<float>(a.cfg_rescale), .stg_scale = static_cast<float>(a.stg_scale),
       .stg_rescale = static_cast<float>(a.stg_rescale), .cfg_star = a.cfg_star ? 1 : 0, .step = static_cast<float>(a.step),
       .token_step = static_cast<const float*>(pointer(a.token_step)), .workspace = workspace.mutable_data_ptr<double>()});
  return true;
}

bool always(const GuidedStepArgs&) { return true; }

constexpr Variant<GuidedStepArgs, bool> kVariants[] = {{"cuda", fits_cuda, cuda}, {"reference", always, reference}};

}  // namespace

void guided_step_(const GuidedStepArgs& a) {
  LTXV_CHECK(a.tokens.dim() == 3 && a.tokens.scalar_type() == at::kFloat, "guided_step: tokens f32 [1,N,C] expected, got ",
             a.tokens.sizes());
  for (const auto* x : {&a.positive, &a.negative, &a.perturbed})
    LTXV_CHECK(x->defined() ? x->sizes() == a.tokens.sizes() && x->scalar_type() == a.positive.scalar_type() : x != &a.positive,
               "guided_step: predictions ", a.tokens.sizes(), " of one dtype expected");
  LTXV_CHECK(!a.token_step.defined() || (a.token_step.dim() == 1 && a.token_step.size(0) == a.tokens.size(1) &&
                                         a.token_step.scalar_type() == at::kFloat),
             "guided_step: one f32 step a token expected");
  dispatch<GuidedStepArgs, bool>("guided_step", kVariants, a);
}

}  // namespace ltxv::ops
