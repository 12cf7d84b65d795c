#include "pipeline/placement.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "vae/vae_config.h"

namespace ltxv {
namespace {

// Below this many parameters a component is so small that f32 costs nothing and spares the rounding.
constexpr int64_t kSmallModel = 200'000'000;
// Activations of one block, in [N,D] tensors: input, norm, q, k, v, attention, and 4 D wide feed-forward twice.
constexpr int64_t kBlockTensors = 14;
// Bytes of a decode's live tensors for each output pixel, measured at the widest stage of the released decoders.
constexpr int64_t kDecodeBytesPerPixel = 160;
// Volumes of the largest size (kLargestVolume on the host) at once: a piece in front of a convolution and behind it, with the frames around it, and pieces of the stages before.
constexpr int64_t kDecodeVolumes = 10;
// The widest stage of the released decoders has so many elements for each pixel of a frame; pieces have at least two frames, and two in front.
constexpr int64_t kElementsPerPixel = 8, kFewestPieceFrames = 4;
// What all layers keep between pieces: two frames for each of 10 convolutions and of 5 sums in the widest stage, half as much in the one before, ...
constexpr int64_t kKeptPerPixel = 2 * 2 * 15 * kElementsPerPixel;

// What a CUDA context, cuBLAS and cuDNN take for themselves.
constexpr int64_t kDeviceReserve = 900ll << 20;
// The same as kDecodeVolumes where norms are made of ATen's operations, with f32 volumes in between.
constexpr int64_t kDeviceDecodeVolumes = 14;
constexpr int64_t kFewestDecodeElements = 8 << 20, kMostDecodeElements = 1 << 29;
// Activations of a text encoder at its longest prompt, and of an encoder that sees one picture.
constexpr int64_t kTextActivations = 256ll << 20, kEncodeBytesPerPixel = 96;

ComputeType choose_type(const PlacementInput& in, int64_t parameters) {
  if (in.dtype == "fp32") return ComputeType::f32;
  if (in.dtype == "bf16") return ComputeType::bf16;
  const bool fast = in.fast_bf16 || in.device_memory_bytes > 0;
  return parameters >= kSmallModel && fast ? ComputeType::bf16 : ComputeType::f32;
}

// Elements of a decode at once, in one go where that needs less than pieces of at most `volume` elements.
int64_t decode_elements(int64_t pixel_count, int64_t picture, int64_t volume_count, int64_t volume) {
  const int64_t pieces = volume_count * std::max(volume, kFewestPieceFrames * kElementsPerPixel * picture) + kKeptPerPixel * picture;
  return std::min(pixel_count * kDecodeBytesPerPixel / 4, pieces);
}

int64_t element_of(ComputeType type) { return type == ComputeType::f32 ? 4 : 2; }

// That one of the ranks has.
int64_t own_tokens(const PlacementInput& in) { return (in.latent.token_count() + in.rank_count - 1) / in.rank_count; }

int id(Component c) { return static_cast<int>(c); }

// Bytes on the device of a component whose blocks take turns.
int64_t two_blocks(const PlacementInput& in, int i, int64_t all_bytes) {
  const double of_all = static_cast<double>(in.block_parameters[i]) / static_cast<double>(std::max<int64_t>(in.parameter_counts[i], 1));
  const auto blocks = static_cast<int64_t>(static_cast<double>(all_bytes) * of_all);
  return all_bytes - blocks + std::min(blocks, 2 * blocks / std::max<int64_t>(in.block_counts[i], 1));
}

void place_on_device(const PlacementInput& in, PlacementPlan& plan) {
  plan.on_device = true;
  plan.budget_bytes = std::max<int64_t>(in.device_memory_bytes - kDeviceReserve, 0);
  const int64_t element = element_of(plan.type(Component::transformer));
  const PixelShape pixels = in.latent.frames ? pixel_shape(in.latent, in.compression) : PixelShape{};
  const int64_t picture = pixels.height * pixels.width, pixel_count = pixels.frames * picture;
  const auto whole = plan.weight_bytes;

  // f32 tables of rotary positions beside the block's tensors.
  plan.denoise_activation_bytes += own_tokens(in) * in.transformer_width * 4;
  const auto sum = [&] { return std::accumulate(plan.weight_bytes.begin(), plan.weight_bytes.end(), int64_t{0}); };
  const auto decode_with = [&](int64_t free_bytes) {
    const int64_t free_elements = free_bytes / element - kKeptPerPixel * picture;
    plan.vae_volume_elements = std::clamp(free_elements / kDeviceDecodeVolumes, kFewestDecodeElements, kMostDecodeElements);
    const int64_t elements = decode_elements(pixel_count, picture, kDeviceDecodeVolumes, plan.vae_volume_elements);
    const bool in_one_go = pixel_count * kDecodeBytesPerPixel / 4 == elements;
    // Frames of a clip decoded in one go are f32 on the device before they go to the host.
    plan.decode_activation_bytes = elements * element + (in_one_go ? pixel_count * 12 : 0);
  };
  const auto turns = [&](Component c) {
    plan.residency[id(c)] = Residency::per_block;
    plan.weight_bytes[id(c)] = two_blocks(in, id(c), whole[id(c)]);
  };
  const auto activations = [&](Component c) {
    switch (c) {
      case Component::text_encoder: return kTextActivations;
      case Component::transformer: return plan.denoise_activation_bytes;
      case Component::vae_decoder: return plan.decode_activation_bytes;
      default: return picture * kEncodeBytesPerPixel * element / 2;
    }
  };
  const auto largest_activation = [&] {
    return std::max({kTextActivations, plan.denoise_activation_bytes,
                     decode_elements(pixel_count, picture, kDeviceDecodeVolumes, kFewestDecodeElements) * element});
  };

  plan.residency.fill(Residency::resident);
  bool together = sum() + largest_activation() <= plan.budget_bytes;
  if (!together && in.block_counts[id(Component::text_encoder)] > 0) {
    turns(Component::text_encoder);
    together = sum() + largest_activation() <= plan.budget_bytes;
  }
  if (!together) {
    plan.weight_bytes = whole;
    plan.residency.fill(Residency::per_stage);
    for (const Component c : {Component::text_encoder, Component::transformer})
      if (in.block_counts[id(c)] > 0 && whole[id(c)] + activations(c) > plan.budget_bytes) turns(c);
  }
  plan.keeps_everything = together;
  decode_with(plan.budget_bytes - (together ? sum() : plan.weight_bytes[id(Component::vae_decoder)]));
  for (int i = 0; i < kComponentCount; ++i) {
    plan.stage_bytes[i] = plan.weight_bytes[i] + activations(static_cast<Component>(i));
    plan.peak_bytes = std::max(plan.peak_bytes, together ? sum() + activations(static_cast<Component>(i)) : plan.stage_bytes[i]);
  }
  const bool turning = plan.stays(Component::transformer) == Residency::per_block;
  plan.pin_transformer = turning && in.rank_count * whole[id(Component::transformer)] <= in.memory_budget_bytes / 2;  // a copy for each
  plan.cuda_graphs = in.cuda_graphs && !turning;
}

}  // namespace

DeviceWord parse_device(const std::string& word) {
  if (word == "auto" || word.empty()) return {};
  if (word == "cpu") return {.kind = DeviceWord::Kind::cpu};
  if (word == "cuda") return {.kind = DeviceWord::Kind::cuda};
  const std::string prefix = "cuda:", digits = word.rfind(prefix, 0) == 0 ? word.substr(prefix.size()) : "";
  const bool number = !digits.empty() && digits.size() <= 3 && digits.find_first_not_of("0123456789") == std::string::npos;
  LTXV_CHECK(number, "device \"", word, "\" is not one of auto, cpu, cuda, cuda:<index>");
  return {.kind = DeviceWord::Kind::cuda, .index = std::stoi(digits)};
}

std::vector<std::string> parse_devices(const std::string& words) {
  std::vector<std::string> all;
  std::set<int> cuda;
  for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
    end = words.find(',', begin);
    all.push_back(words.substr(begin, end == std::string::npos ? end : end - begin));
  }
  if (all.size() == 1) {
    parse_device(words);
    return all;
  }
  LTXV_CHECK(all.size() <= kMostDevices, "device \"", words, "\" names ", all.size(), " devices, at most ", kMostDevices, " are allowed");
  size_t cpu_count = 0;
  for (const std::string& word : all) {
    const DeviceWord device = parse_device(word);
    LTXV_CHECK(!word.empty() && device.kind != DeviceWord::Kind::automatic, "device \"", words, "\": among several, each is cpu, cuda or cuda:<index>, not \"", word, "\"");
    cpu_count += device.kind == DeviceWord::Kind::cpu;
    LTXV_CHECK(device.kind != DeviceWord::Kind::cuda || cuda.insert(device.index).second, "device \"", words, "\" names cuda:", device.index, " twice");
  }
  LTXV_CHECK(cpu_count == 0 || cpu_count == all.size(), "device \"", words, "\" mixes the CPU with CUDA devices");
  return all;
}

PlacementPlan plan_placement(const PlacementInput& in) {
  LTXV_CHECK(in.dtype == "auto" || in.dtype == "fp32" || in.dtype == "bf16" || in.dtype == "fp16", "dtype \"", in.dtype,
             "\" is not one of auto, fp32, bf16, fp16");
  const DeviceWord device = parse_device(parse_devices(in.device).front());
  LTXV_REQUIRE(Unsupported, in.dtype != "fp16", "dtype fp16 is not supported (T5 overflows in it); use bf16 or fp32");
  LTXV_REQUIRE(DeviceError, device.kind != DeviceWord::Kind::cuda || in.device_memory_bytes > 0, "device ", in.device,
               ": no such device is open");
  LTXV_ASSERT(device.kind != DeviceWord::Kind::cpu || in.device_memory_bytes == 0, "a device for a run on the cpu");

  PlacementPlan plan;
  const int64_t largest = *std::max_element(in.parameter_counts.begin(), in.parameter_counts.end());
  for (int i = 0; i < kComponentCount; ++i) {
    // One dtype for the whole model unless the user's parts differ wildly: latents cross between components in f32 anyway.
    plan.types[i] = choose_type(in, largest);
    plan.weight_bytes[i] = in.parameter_counts[i] * (in.device_memory_bytes > 0 && in.stored_fp8[i] ? 1 : element_of(plan.types[i]));
  }
  const int64_t element = element_of(plan.type(Component::transformer));
  int64_t& transformer_bytes = plan.weight_bytes[id(Component::transformer)];
  const int64_t quantised = std::min(in.quantised_parameters, in.parameter_counts[id(Component::transformer)]);
  if (in.device_memory_bytes == 0 || !in.stored_fp8[id(Component::transformer)]) transformer_bytes -= quantised * (element - 1);
  plan.denoise_activation_bytes = in.pass_count * own_tokens(in) * in.transformer_width * kBlockTensors * element;
  if (in.device_memory_bytes > 0) {
    place_on_device(in, plan);
    return plan;
  }
  const PixelShape pixels = in.latent.frames ? pixel_shape(in.latent, in.compression) : PixelShape{};
  const int64_t pixel_count = pixels.frames * pixels.height * pixels.width;
  plan.vae_volume_elements = kLargestVolume;
  // The frames themselves are f32 RGB.
  plan.decode_activation_bytes =
      decode_elements(pixel_count, pixels.height * pixels.width, kDecodeVolumes, kLargestVolume) * element + pixel_count * 12;

  const auto weights = [&](Component c) { return plan.weight_bytes[id(c)]; };
  const bool text_turns = in.mapped_files && in.block_counts[id(Component::text_encoder)] > 0;
  if (text_turns) plan.weight_bytes[id(Component::text_encoder)] = two_blocks(in, id(Component::text_encoder), weights(Component::text_encoder));
  // Mapped weights can leave memory without loss, packed ones cannot.
  plan.pack_transformer = (plan.type(Component::transformer) == ComputeType::bf16 ? in.fast_bf16 : in.packs_f32) &&
                          weights(Component::transformer) + plan.denoise_activation_bytes <= in.memory_budget_bytes / 2;
  const int64_t all = std::accumulate(plan.weight_bytes.begin(), plan.weight_bytes.end(), int64_t{0});
  const int64_t largest_activation = std::max(plan.denoise_activation_bytes, plan.decode_activation_bytes);
  plan.budget_bytes = in.memory_budget_bytes / 2;
  const bool everything_fits = all + largest_activation <= plan.budget_bytes;
  plan.keeps_everything = everything_fits;
  plan.residency.fill(everything_fits ? Residency::resident : Residency::per_stage);
  if (text_turns) plan.residency[id(Component::text_encoder)] = Residency::per_block;
  plan.peak_bytes = everything_fits
                        ? all + largest_activation
                        : std::max({weights(Component::text_encoder),
                                    weights(Component::transformer) + plan.denoise_activation_bytes,
                                    weights(Component::vae_decoder) + plan.decode_activation_bytes, weights(Component::vae_encoder),
                                    weights(Component::upsampler)});
  return plan;
}

}  // namespace ltxv
