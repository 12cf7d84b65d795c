#include "guided_step/guided_step.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "cpu_row_args.h"
#include "cuda_plugin.h"
#include "guided_step/guidance_moments.h"
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

// All predictions and the steps where `positive` is, without gaps.
bool fits_together(const Args& a) {
  const GuidanceTerms& t = a.terms;
  if (!a.tokens.is_contiguous() || a.tokens.size(0) != 1 || a.tokens.numel() == 0) return false;
  for (const at::Tensor* x : {&std::as_const(a.tokens), &t.positive, &t.negative, &t.perturbed, &a.token_step})
    if (x->defined() && (x->device() != t.positive.device() || !x->is_contiguous())) return false;
  return true;
}

const void* pointer(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }

gpu::GuidedStepLaunch launch_of(const Args& a) {
  const GuidanceTerms& t = a.terms;
  return {.type = t.positive.scalar_type() == at::kFloat ? gpu::Element::f32 : gpu::Element::bf16,
          .tokens = a.tokens.mutable_data_ptr<float>(), .positive = pointer(t.positive), .negative = pointer(t.negative),
          .perturbed = pointer(t.perturbed), .token_count = a.tokens.size(1), .width = static_cast<int32_t>(a.tokens.size(2)),
          .scale = static_cast<float>(t.scale), .cfg_rescale = static_cast<float>(t.cfg_rescale), .stg_scale = static_cast<float>(t.stg_scale),
          .stg_rescale = static_cast<float>(t.stg_rescale), .cfg_star = t.cfg_star ? 1 : 0, .step = static_cast<float>(a.step),
          .token_step = static_cast<const float*>(pointer(a.token_step))};
}

bool fits_cuda(const Args& a) {
  return is_cuda_float(a.terms.positive) && fits_together(a) && cuda_variant_allowed("guided_step", "cuda", a.terms.positive.device()) &&
         cuda_plugin().table->guided_step;
}

bool cuda(const Args& a) {
  const at::Tensor workspace = at::empty({gpu::kGuidedStepWorkspace}, a.tokens.options().dtype(at::kDouble));
  auto launch = launch_of(a);
  launch.workspace = workspace.mutable_data_ptr<double>();
  launch_on(a.terms.positive, "guided_step", cuda_plugin().table->guided_step, launch);
  return true;
}

// The sums first, where the rule needs them, then one pass over the tokens.
template <void (*kSums)(const cpu::GuidedRows&, int64_t, int64_t, double (&)[cpu::kGuidanceSums]),
          void (*kStep)(const cpu::GuidedRows&, int64_t, int64_t)>
bool rows(const Args& a) {
  const gpu::GuidedStepLaunch launch = launch_of(a);
  cpu::GuidedRows args{cpu_row_type(a.terms.positive), launch.positive, launch.negative, launch.perturbed, launch.tokens, launch.token_step,
                       0, 0, 0, launch.step, launch.width};
  gpu::Moments m = {};
  const int64_t count = a.tokens.numel();
  if (gpu::needs_moments(launch)) {
    constexpr int64_t kBlock = 1 << 15;  // added up in their order, whatever thread made them
    std::vector<std::array<double, cpu::kGuidanceSums>> sums((count + kBlock - 1) / kBlock);
    at::parallel_for(0, static_cast<int64_t>(sums.size()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        double block[cpu::kGuidanceSums] = {};
        kSums(args, i * kBlock, std::min(count, (i + 1) * kBlock), block);
        std::copy_n(block, cpu::kGuidanceSums, sums[i].begin());
      }
    });
    static_assert(cpu::kGuidanceSums == gpu::kMomentCount);
    double all[cpu::kGuidanceSums] = {};
    for (const auto& block : sums)
      for (int k = 0; k < cpu::kGuidanceSums; ++k) all[k] += block[k];
    m = {all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7], all[8]};
  }
  const gpu::GuidanceCoefficients k = gpu::guidance_coefficients(launch, m, static_cast<double>(count));
  args.a = static_cast<float>(k.positive), args.b = static_cast<float>(k.negative), args.c = static_cast<float>(k.perturbed);
  at::parallel_for(0, launch.token_count, row_grain(launch.width), [&](int64_t begin, int64_t end) { kStep(args, begin, end); });
  return true;
}

bool fits(const Args& a) { return fits_rows(a.terms.positive) && fits_together(a); }
bool fits_avx512(const Args& a) { return cpu_features().avx512 && fits(a); }
bool fits_avx2(const Args& a) { return cpu_features().avx2 && fits(a); }

bool always(const Args&) { return true; }

constexpr Variant<Args, bool> kVariants[] = {{"cuda", fits_cuda, cuda},
                                             {"avx512", fits_avx512, rows<cpu::avx512::guidance_sums, cpu::avx512::guided_step>},
                                             {"avx2", fits_avx2, rows<cpu::avx2::guidance_sums, cpu::avx2::guided_step>},
                                             {"reference", always, reference}};

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
