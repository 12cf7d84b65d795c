#include "pipeline/placement.h"

#include <algorithm>
#include <numeric>

namespace ltxv {
namespace {

// Below this many parameters a component is so small that f32 costs nothing and spares the rounding.
constexpr int64_t kSmallModel = 200'000'000;
// Activations of one block, in [N,D] tensors: input, norm, q, k, v, attention, and 4 D wide feed-forward twice.
constexpr int64_t kBlockTensors = 14;
// Bytes of a decode's live tensors for each output pixel, measured at the widest stage of the released decoders.
constexpr int64_t kDecodeBytesPerPixel = 160;
// A decoder's volumes are cut into pieces of time above this: a gigabyte in f32 with all that lives beside one volume.
constexpr int64_t kDecodeVolumeElements = 32 << 20;
// Of those, at once: a piece in front of a block and behind it, the first piece being up to twice as long as the others.
constexpr int64_t kDecodeVolumes = 10;

ComputeType choose_type(const PlacementInput& in, int64_t parameters) {
  if (in.dtype == "fp32") return ComputeType::f32;
  if (in.dtype == "bf16") return ComputeType::bf16;
  return parameters >= kSmallModel && in.fast_bf16 ? ComputeType::bf16 : ComputeType::f32;
}

}  // namespace

PlacementPlan plan_placement(const PlacementInput& in) {
  LTXV_CHECK(in.dtype == "auto" || in.dtype == "fp32" || in.dtype == "bf16" || in.dtype == "fp16", "dtype \"", in.dtype,
             "\" is not one of auto, fp32, bf16, fp16");
  LTXV_REQUIRE(Unsupported, in.dtype != "fp16", "dtype fp16 is not supported on the cpu (T5 overflows in it); use bf16 or fp32");
  const bool cuda = in.device == "cuda" || in.device.rfind("cuda:", 0) == 0;
  LTXV_CHECK(cuda || in.device == "auto" || in.device == "cpu", "device \"", in.device,
             "\" is not one of auto, cpu, cuda, cuda:<index>");
  LTXV_REQUIRE(DeviceError, !cuda, "device ", in.device, ": this build computes on the cpu only");

  PlacementPlan plan;
  const int64_t largest = *std::max_element(in.parameter_counts.begin(), in.parameter_counts.end());
  for (int i = 0; i < kComponentCount; ++i) {
    // One dtype for the whole model unless the user's parts differ wildly: latents cross between components in f32 anyway.
    plan.types[i] = choose_type(in, largest);
    plan.weight_bytes[i] = in.parameter_counts[i] * (plan.types[i] == ComputeType::f32 ? 4 : 2);
  }
  const int64_t element = plan.types[static_cast<int>(Component::transformer)] == ComputeType::f32 ? 4 : 2;
  plan.denoise_activation_bytes = in.pass_count * in.latent.token_count() * in.transformer_width * kBlockTensors * element;
  const PixelShape pixels = in.latent.frames ? pixel_shape(in.latent, in.compression) : PixelShape{};
  const int64_t pixel_count = pixels.frames * pixels.height * pixels.width;
  plan.decode_volume_elements = kDecodeVolumeElements;
  // The frames themselves are f32 RGB.
  plan.decode_activation_bytes =
      std::min(pixel_count * kDecodeBytesPerPixel / 4, kDecodeVolumes * kDecodeVolumeElements) * element + pixel_count * 12;

  const auto weights = [&](Component c) { return plan.weight_bytes[static_cast<int>(c)]; };
  // Mapped weights can leave memory without loss, packed ones cannot.
  plan.pack_transformer = in.fast_bf16 && plan.types[static_cast<int>(Component::transformer)] == ComputeType::bf16 &&
                          weights(Component::transformer) + plan.denoise_activation_bytes <= in.memory_budget_bytes / 2;
  const int64_t all = std::accumulate(plan.weight_bytes.begin(), plan.weight_bytes.end(), int64_t{0});
  const int64_t largest_activation = std::max(plan.denoise_activation_bytes, plan.decode_activation_bytes);
  const bool everything_fits = all + largest_activation <= in.memory_budget_bytes / 2;
  plan.residency.fill(everything_fits ? Residency::resident : Residency::per_stage);
  plan.peak_bytes = everything_fits
                        ? all + largest_activation
                        : std::max({weights(Component::text_encoder),
                                    weights(Component::transformer) + plan.denoise_activation_bytes,
                                    weights(Component::vae_decoder) + plan.decode_activation_bytes, weights(Component::vae_encoder),
                                    weights(Component::upsampler)});
  return plan;
}

}  // namespace ltxv
