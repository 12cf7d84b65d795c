#include "pipeline/engine.h"

#include <algorithm>
#include <ATen/Parallel.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/transfer.h"
#include "pipeline/engine_impl.h"
#include "pipeline/host.h"
#include "pipeline/quantization.h"
#include "pipeline/run_record.h"
#include "pipeline/spec_files.h"
#include "pipeline/tensor_files.h"
#include "registry.h"

namespace ltxv {
namespace {

std::vector<at::Device> places_of(const std::vector<ComputeDevice>& devices) {
  std::vector<at::Device> places;
  for (const ComputeDevice& device : devices) places.push_back(device.device);
  return places;
}

ModelSpec load_spec(const EngineOptions& options) {
  const std::string model = options.model.empty() ? "shapes" : options.model;
  ModelParts parts{model, options.text_encoder, options.tokenizer, options.vae, options.transformer, options.release, options.upscalers};
  if (!std::filesystem::exists(model)) parts.model = bundled_model_folder(model);
  return load_model_spec(parts);
}

}  // namespace

ComputeScope::ComputeScope(Engine::Impl& engine) : on_device_(engine.streams.front()) {
  if (at::get_num_threads() != engine.thread_count) at::set_num_threads(engine.thread_count);
}

Engine::Impl::Impl(const EngineOptions& engine_options, ModelSpec model_spec, std::vector<ComputeDevice> compute_devices)
    : options(engine_options),
      spec(std::move(model_spec)),
      devices(std::move(compute_devices)),
      compute(devices.front()),
      tokenizer(spec.tokenizer_path.empty() ? std::optional<Tokenizer>() : Tokenizer::load(spec.tokenizer_path)),
      weights(spec, options.copy_files ? FileAccess::copy : FileAccess::map, places_of(devices),
              block_options(options.quantization, options.attention, compute.device, spec.transformer.head_width)),
      thread_count(options.thread_count > 0 ? options.thread_count : physical_core_count()) {
  for (const at::Device device : weights.devices()) {
    streams.emplace_back(device);
    block_options(options.quantization, options.attention, device, spec.transformer.head_width);  // refused where one of them cannot
  }
  LTXV_CHECK(static_cast<int64_t>(devices.size()) <= spec.transformer.head_count, "device \"", options.device, "\" names ", devices.size(),
             " devices, which cannot share this model's ", spec.transformer.head_count, " heads of attention");
  LTXV_CHECK(devices.size() == 1 || !options.cuda_graphs, "predictions that ", devices.size(), " devices share cannot be recorded as CUDA graphs");
  if (!tokenizer) return;
  LTXV_REQUIRE(BadWeights, tokenizer->piece_count() <= spec.text.vocabulary, spec.tokenizer_path, ": ", tokenizer->piece_count(),
               " pieces do not fit the text encoder's vocabulary of ", spec.text.vocabulary, " (", spec.text_files.path, ")");
}

int64_t Engine::Impl::usable_device_memory() const {
  int64_t least = compute.memory_bytes;
  for (const ComputeDevice& device : devices) least = std::min(least, device.memory_bytes);
  return options.device_memory_bytes > 0 ? std::min(options.device_memory_bytes, least) : least;
}

PlacementPlan Engine::Impl::plan(const LatentShape& latent, int64_t pass_count) const {
  const auto& blocks = weights.block_counts();
  return plan_placement({.parameter_counts = weights.parameter_counts(),
                         .block_parameters = blocks.parameters,
                         .block_counts = blocks.blocks,
                         .stored_fp8 = blocks.fp8,
                         .quantised_parameters = weights.quantised_parameters(),
                         .latent = latent,
                         .compression = spec.vae.compression,
                         .transformer_width = spec.transformer.width(),
                         .pass_count = pass_count,
                         .rank_count = compute.device.is_cpu() ? 1 : static_cast<int64_t>(devices.size()),
                         .memory_budget_bytes = host_memory_bytes(),
                         .device_memory_bytes = usable_device_memory(),
                         .fast_bf16 = ops::cpu_features().bf16,
                         .packs_f32 = ops::cpu_features().avx512,
                         .mapped_files = !options.copy_files,
                         .cuda_graphs = options.cuda_graphs,
                         .dtype = options.dtype,
                         .device = options.device});
}

std::string Engine::Impl::device_names() const {
  std::string names;
  for (const ComputeDevice& device : devices) names += (names.empty() ? "" : ",") + device.device.str();
  return names;
}

void Engine::Impl::warn_of_memory(const PlacementPlan& plan, const RunContext& run) const {
  if (!plan.on_device || plan.peak_bytes <= plan.budget_bytes) return;
  const auto gib = [](int64_t bytes) { return static_cast<double>(bytes * 10 / (int64_t{1} << 30)) / 10; };
  run.log(LogLevel::warning, text("this run may need ", gib(plan.peak_bytes), " GiB of memory on ", compute.device.str(), ", which has ",
                                  gib(plan.budget_bytes), " GiB for it; a smaller size or fewer frames need less"));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

std::shared_ptr<Engine> Engine::open(const EngineOptions& options) {
  LTXV_CHECK(options.thread_count >= 0 && options.thread_count <= 1024, "threads ", options.thread_count,
             " is not between 1 and 1024");
  parse_devices(options.device);
  ModelSpec spec = load_spec(options);  // before the device: a model that cannot be opened is found out sooner
  const auto devices = open_compute_devices(options.device);
  for (const ComputeDevice& device : devices) limit_device_memory(device, options.device_memory_bytes);
  return checked(std::make_unique<Impl>(options, std::move(spec), devices));
}

std::shared_ptr<Engine> Engine::open_on(const EngineOptions& options, const std::vector<ComputeDevice>& devices) {
  return checked(std::make_unique<Impl>(options, load_spec(options), devices));
}

std::shared_ptr<Engine> Engine::checked(std::unique_ptr<Impl> impl) {
  impl->plan({1, 1, 1}, 1);  // the dtype is refused here, before any work
  return std::shared_ptr<Engine>(new Engine(std::move(impl)));
}

const ModelSpec& Engine::spec() const { return impl_->spec; }

std::string Engine::describe_json() const {
  const ModelSpec& spec = impl_->spec;
  const auto counts = impl_->weights.parameter_counts();
  const auto plan = impl_->plan({1, 1, 1}, 1);
  nlohmann::ordered_json j;
  j["model"] = spec.name;
  j["release"] = spec.release;
  j["device"] = impl_->device_names();
  if (!impl_->compute.name.empty()) j["device_name"] = impl_->compute.name;
  if (impl_->compute.memory_bytes > 0) j["device_memory_bytes"] = impl_->usable_device_memory();
  if (!impl_->compute.note.empty()) j["device_note"] = impl_->compute.note;
  j["threads"] = impl_->thread_count;
  j["quantization"] = impl_->options.quantization.empty() ? "none" : impl_->options.quantization;
  j["attention"] = impl_->options.attention.empty() ? "exact" : impl_->options.attention;
  const std::string files[] = {spec.text_files.path, spec.transformer_files.path, spec.vae_files.path, spec.vae_files.path};
  for (int i = 0; i < kComponentCount; ++i) {
    if (static_cast<Component>(i) == Component::upsampler) continue;  // listed below, one by one
    j["parts"][kComponentNames[i]] = {{"path", files[i]},
                                      {"parameters", counts[i]},
                                      {"stored", impl_->weights.stored_type(static_cast<Component>(i))},
                                      {"compute", plan.types[i] == ComputeType::f32 ? "fp32" : "bf16"},
                                      {"residency", kResidencyNames[static_cast<int>(plan.residency[i])]}};
  }
  for (const UpsamplerPart& u : spec.upsamplers)
    j["upscalers"].push_back({{"path", u.path},
                              {"kind", u.config.spatial ? (u.config.temporal ? "spatial and temporal" : "spatial") : "temporal"},
                              {"compute", plan.type(Component::upsampler) == ComputeType::f32 ? "fp32" : "bf16"}});
  j["tokenizer"] = spec.tokenizer_path;
  if (!spec.remarks.empty()) j["remarks"] = spec.remarks;
  j["latent_channels"] = spec.vae.latent_channels;
  j["compression"] = {{"spatial", spec.vae.compression.spatial}, {"temporal", spec.vae.compression.temporal}};
  j["causal_positions"] = spec.transformer.causal_positions;
  j["presets"] = describe_presets(spec);
  return j.dump();
}

std::string Engine::resolve_json(const Request& request) const { return run_record(*impl_, resolve(request, impl_->spec)); }

PromptEmbeds Engine::embed(const std::string& prompt, int64_t max_text_tokens, const RunHooks& hooks) {
  const ComputeScope scope(*impl_);
  const RunContext run(hooks);
  LTXV_CHECK(max_text_tokens >= 0 && max_text_tokens <= 4096, "max text tokens ", max_text_tokens, " is not between 1 and 4096");
  const auto plan = impl_->plan({1, 1, 1}, 1);
  const int64_t length = max_text_tokens > 0 ? max_text_tokens : impl_->spec.presets.front().max_text_tokens;
  auto out = encode_prompt(*impl_, prompt, length, Padding::keep, plan, run);
  impl_->weights.stage_done(Component::text_encoder, plan);
  return out;
}

at::Tensor Engine::encode(const at::Tensor& pixels, const RunHooks& hooks) {
  const ComputeScope scope(*impl_);
  RunContext run(hooks);
  LTXV_CHECK(pixels.dim() == 5 && pixels.size(0) == 1 && pixels.size(1) == 3, "frames [1,3,T,H,W] expected, got ", pixels.sizes());
  const auto plan = impl_->plan(latent_shape({pixels.size(2), pixels.size(3), pixels.size(4)}, impl_->spec.vae.compression), 1);
  run.report(Stage::encode, 0, 1);
  const auto latents = to_host(impl_->weights.vae_encoder(plan)->encode(pixels, run, plan.vae_volume_elements));
  impl_->weights.stage_done(Component::vae_encoder, plan);
  run.report(Stage::encode, 1, 1);
  return latents;
}

at::Tensor Engine::decode(const at::Tensor& latents, const DecodeRequest& request, const RunHooks& hooks) {
  const ComputeScope scope(*impl_);
  RunContext run(hooks);
  LTXV_CHECK(latents.dim() == 5 && latents.size(0) == 1 && latents.size(1) == impl_->spec.vae.latent_channels, "latents [1,",
             impl_->spec.vae.latent_channels, ",T,H,W] expected, got ", latents.sizes());
  const auto plan = impl_->plan({latents.size(2), latents.size(3), latents.size(4)}, 1);
  const Preset& preset = impl_->spec.presets.front();
  auto noise = open_noise(request.noise_path, request.seed);
  const DecodeSettings settings{request.timestep < 0 ? preset.decode_timestep : request.timestep,
                                request.noise_scale < 0 ? preset.decode_noise_scale : request.noise_scale, request.noise_space};
  const auto frames = decode_stage(*impl_, latents, settings, noise, plan, run);
  impl_->weights.stage_done(Component::vae_decoder, plan);
  return frames;
}

}  // namespace ltxv
