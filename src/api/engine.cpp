// Engine, generate, and the stages one by one.
#include <algorithm>
#include <charconv>
#include <cstring>

#include "api/handles.h"
#include "api/versioned.h"
#include "pipeline/request_reader.h"

namespace ltxv::api {
namespace {

/// A field where zero means "the preset's value" unless its bit says that zero is meant.
template <class T>
std::optional<T> given(T value, uint32_t zero_fields, uint32_t bit) {
  if (value != T{} || (zero_fields & bit) != 0) return value;
  return std::nullopt;
}

/// The same for a switch.
std::optional<bool> switched(uint32_t value, uint32_t zero_fields, uint32_t bit) {
  if (value != 0) return true;
  return (zero_fields & bit) != 0 ? std::optional(false) : std::nullopt;
}

/// What both passes may switch off.
constexpr uint32_t kSamplingZeros =
    LTXV_ZERO_SKIP_FIRST_STEPS | LTXV_ZERO_SKIP_LAST_STEPS | LTXV_ZERO_CFG_STAR | LTXV_ZERO_STOCHASTIC;

void check_zero_fields(uint32_t zero_fields, uint32_t known, const char* what) {
  LTXV_REQUIRE(Unsupported, (zero_fields & ~known) == 0, what,
               ": zero_fields has bits this library does not know: ", zero_fields & ~known);
}

ConditionItem condition_item(const ltxv_condition& c) {
  check_zero_fields(c.zero_fields, LTXV_ZERO_STRENGTH, "condition");
  return {.path = required_path(c.path, "condition path"),
          .frame_index = c.frame_index,
          .strength = given(c.strength, c.zero_fields, LTXV_ZERO_STRENGTH).value_or(1.0)};
}

LoraItem lora_item(const ltxv_lora& l) {
  check_zero_fields(l.zero_fields, LTXV_ZERO_STRENGTH, "LoRA");
  return {.path = required_path(l.path, "LoRA path"),
          .strength = given(l.strength, l.zero_fields, LTXV_ZERO_STRENGTH).value_or(1.0)};
}

NoiseKind noise_kind(int32_t kind) {
  LTXV_CHECK(kind >= 0 && kind <= LTXV_NOISE_TORCH_TOKENS, "noise_kind is ", kind,
             ", allowed are LTXV_NOISE_TORCH (1) and LTXV_NOISE_TORCH_TOKENS (2)");
  return kind == LTXV_NOISE_TORCH_TOKENS ? NoiseKind::torch_tokens : NoiseKind::torch;
}

std::vector<double> number_list(const double* values, int32_t count, const char* name) {
  LTXV_CHECK(count >= 0 && (count == 0) == (values == nullptr), name, " and its count go together: the count is ",
             count, ", the list is ", values ? "given" : "NULL");
  return count > 0 ? std::vector<double>(values, values + count) : std::vector<double>();
}

/// "11,25;22" -> {{11, 25}, {22}}; an empty part is an empty list.
std::vector<std::vector<int64_t>> block_lists(const char* words) {
  std::vector<std::vector<int64_t>> bins;
  if (words == nullptr || *words == 0) return bins;
  bins.emplace_back();
  for (const char* at = words; *at != 0;) {
    if (*at == ';') {
      bins.emplace_back();
      ++at;
      continue;
    }
    int64_t block = 0;
    const auto [end, problem] = std::from_chars(at, words + std::strlen(words), block);
    LTXV_CHECK(problem == std::errc() && (*end == 0 || *end == ';' || (*end == ',' && end[1] != 0 && end[1] != ';')),
               "skip-blocks \"", words, "\" is not a list like 11,25;22");
    bins.back().push_back(block);
    at = *end == ',' ? end + 1 : end;
  }
  return bins;
}

/// One word of a table; NULL and "" are its first entry.
template <class T>
T choice(const char* word, const char* option, std::initializer_list<std::pair<const char*, T>> table) {
  if (word == nullptr || *word == 0) return table.begin()->second;
  std::string names;
  for (const auto& [name, value] : table) {
    if (std::strcmp(name, word) == 0) return value;
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  throw InvalidArgument(text(option, " \"", word, "\" is not one of ", names));
}

NoiseSpace noise_space(const char* word) {
  return choice<NoiseSpace>(word, "decode-noise-space", {{"normalised", NoiseSpace::normalised}, {"raw", NoiseSpace::raw}});
}

void read_conditioning(const ltxv_generate_options& o, Request& r) {
  r.mask_path = path_or_empty(o.mask_path);
  r.mask_blend = o.mask_blend;
  r.outpaint = o.outpaint != 0;
  r.composite = o.composite != 0;
  r.image_prep = choice<ImagePrep>(
      o.image_prep, "image-prep",
      {{"plain", ImagePrep::plain}, {"official", ImagePrep::official}, {"diffusers", ImagePrep::diffusers}});
  if (const auto crf = given(o.image_crf, o.zero_fields, LTXV_ZERO_IMAGE_CRF)) r.image_crf = *crf;
  r.decode_noise_space = noise_space(o.decode_noise_space);
  r.text_padding = choice<TextPadding>(o.text_padding, "text-padding",
                                       {{"masked", TextPadding::masked}, {"attended", TextPadding::attended}});
  r.frame_positions = choice<FramePositions>(
      o.frame_positions, "frame-positions",
      {{"model", FramePositions::model}, {"causal", FramePositions::causal}, {"plain", FramePositions::plain}});
  r.window.frame_count = o.window_frames;
  if (o.window_overlap != 0) r.window.overlap = o.window_overlap;
  r.window.overlap_strength = given(o.window_strength, o.zero_fields, LTXV_ZERO_WINDOW_STRENGTH);
  r.window.match = given(o.window_match, o.zero_fields, LTXV_ZERO_WINDOW_MATCH);
  r.window.eta = given(o.window_eta, o.zero_fields, LTXV_ZERO_WINDOW_ETA);
}

// What both passes have under the same names; `where` starts the names in messages.
template <class From, class To>
void read_sampling(const From& o, To& r, const std::string& where) {
  r.guidance_timesteps = number_list(o.guidance_timesteps, o.guidance_timestep_count, (where + "guidance_timesteps").c_str());
  r.guidance_scales = number_list(o.guidance_scales, o.guidance_scale_count, (where + "guidance_scales").c_str());
  r.guidance_rescales = number_list(o.guidance_rescales, o.guidance_rescale_count, (where + "guidance_rescales").c_str());
  r.stg_scales = number_list(o.stg_scales, o.stg_scale_count, (where + "stg_scales").c_str());
  r.stg_mode = path_or_empty(o.stg_mode);
  r.skip_blocks = block_lists(o.skip_blocks);
  r.cfg_star = switched(o.cfg_star, o.zero_fields, LTXV_ZERO_CFG_STAR);
  r.stochastic = switched(o.stochastic, o.zero_fields, LTXV_ZERO_STOCHASTIC);
  r.skip_first_steps = given(int64_t{o.skip_first_steps}, o.zero_fields, LTXV_ZERO_SKIP_FIRST_STEPS);
  r.skip_last_steps = given(int64_t{o.skip_last_steps}, o.zero_fields, LTXV_ZERO_SKIP_LAST_STEPS);
}

void read_guidance(const ltxv_generate_options& o, Request& r) {
  read_sampling(o, r, "");
  r.input_video_path = path_or_empty(o.input_video_path);
  r.strength = given(o.strength, o.zero_fields, LTXV_ZERO_STRENGTH);
}

void read_second_pass(const ltxv_generate_options& o, Request& r) {
  r.pass_count = o.pass_count;
  const auto s = read_versioned(o.second_pass, "second pass");
  check_zero_fields(s.zero_fields, LTXV_ZERO_ADAIN | LTXV_ZERO_TONE_MAP | kSamplingZeros, "second pass");
  SecondPass& p = r.second_pass;
  p.step_count = s.step_count;
  p.sigmas = number_list(s.sigmas, s.sigma_count, "second pass: sigmas");
  read_sampling(s, p, "second pass: ");
  if (s.downscale != 0) p.downscale = s.downscale;
  p.adain = given(s.adain, s.zero_fields, LTXV_ZERO_ADAIN);
  p.tone_map = given(s.tone_map, s.zero_fields, LTXV_ZERO_TONE_MAP);
}

Request to_request(const ltxv_generate_options& o) {
  constexpr uint32_t kKnownZeros = LTXV_ZERO_SEED | LTXV_ZERO_GUIDANCE_SCALE | LTXV_ZERO_GUIDANCE_RESCALE |
                                   LTXV_ZERO_IMAGE_NOISE_SCALE | LTXV_ZERO_DECODE_TIMESTEP |
                                   LTXV_ZERO_DECODE_NOISE_SCALE | LTXV_ZERO_STRENGTH | LTXV_ZERO_IMAGE_CRF |
                                   LTXV_ZERO_WINDOW_STRENGTH | LTXV_ZERO_WINDOW_MATCH | LTXV_ZERO_WINDOW_ETA | kSamplingZeros;
  check_zero_fields(o.zero_fields, kKnownZeros, "generate options");
  LTXV_CHECK(o.prompt != nullptr || o.prompt_embeds_path != nullptr || o.request_json != nullptr,
             "prompt is NULL, and neither prompt_embeds_path nor request_json is given");
  LTXV_CHECK(o.sigma_count >= 0 && (o.sigma_count == 0) == (o.sigmas == nullptr),
             "sigmas and sigma_count go together: sigma_count is ", o.sigma_count, ", sigmas is ",
             o.sigmas ? "given" : "NULL");
  Request r;
  if (o.prompt) r.prompt = utf8(o.prompt, "prompt");
  if (o.negative_prompt) r.negative_prompt = utf8(o.negative_prompt, "negative_prompt");
  r.prompt_embeds_path = path_or_empty(o.prompt_embeds_path);
  r.negative_prompt_embeds_path = path_or_empty(o.negative_prompt_embeds_path);
  r.width = o.width_px;
  r.height = o.height_px;
  r.frame_count = o.frame_count;
  r.seconds = o.seconds;
  r.frames_per_second = o.frames_per_second;
  r.step_count = o.step_count;
  if (o.sigma_count > 0) r.sigmas.assign(o.sigmas, o.sigmas + o.sigma_count);
  r.guidance_scale = given(o.guidance_scale, o.zero_fields, LTXV_ZERO_GUIDANCE_SCALE);
  r.guidance_rescale = given(o.guidance_rescale, o.zero_fields, LTXV_ZERO_GUIDANCE_RESCALE);
  r.seed = given(o.seed, o.zero_fields, LTXV_ZERO_SEED);
  r.noise_kind = noise_kind(o.noise_kind);
  r.max_text_tokens = o.max_text_tokens;
  for (const ltxv_condition& c : read_array(o.conditions, o.condition_count, "conditions"))
    r.conditions.push_back(condition_item(c));
  for (const ltxv_lora& l : read_array(o.loras, o.lora_count, "loras")) r.loras.push_back(lora_item(l));
  r.control_path = path_or_empty(o.control_path);
  r.control_strength = o.control_strength == 0 ? 1.0 : o.control_strength;
  r.image_noise_scale = given(o.image_noise_scale, o.zero_fields, LTXV_ZERO_IMAGE_NOISE_SCALE);
  r.decode_timestep = given(o.decode_timestep, o.zero_fields, LTXV_ZERO_DECODE_TIMESTEP);
  r.decode_noise_scale = given(o.decode_noise_scale, o.zero_fields, LTXV_ZERO_DECODE_NOISE_SCALE);
  r.noise_path = path_or_empty(o.noise_path);
  r.save_noise_path = path_or_empty(o.save_noise_path);
  r.save_latents_path = path_or_empty(o.save_latents_path);
  r.preset = path_or_empty(o.preset);
  read_guidance(o, r);
  read_conditioning(o, r);
  read_second_pass(o, r);
  if (o.request_json != nullptr && *o.request_json != 0) fill_from_json(utf8(o.request_json, "request_json"), r);
  return r;
}

EngineOptions to_engine_options(const ltxv_engine_options& o) {
  EngineOptions e;
  e.model = path_or_empty(o.model);
  e.text_encoder = path_or_empty(o.text_encoder);
  e.tokenizer = path_or_empty(o.tokenizer);
  e.vae = path_or_empty(o.vae);
  e.transformer = path_or_empty(o.transformer);
  e.release = path_or_empty(o.release);
  if (o.device) e.device = o.device;
  if (o.dtype) e.dtype = o.dtype;
  LTXV_CHECK(o.thread_count >= 0 && o.thread_count <= 1024, "thread_count is ", o.thread_count,
             ", allowed are 1 to 1024, or 0");
  e.thread_count = o.thread_count;
  e.copy_files = o.copy_files != 0;
  e.cuda_graphs = o.cuda_graphs != 0;
  LTXV_CHECK(o.device_memory_bytes >= 0, "device_memory_bytes is ", o.device_memory_bytes, ", allowed are positive numbers, or 0");
  e.device_memory_bytes = o.device_memory_bytes;
  if (o.quantization) e.quantization = o.quantization;
  if (o.attention) e.attention = o.attention;
  LTXV_CHECK(o.upscaler_count >= 0 && o.upscaler_count <= 8 && (o.upscaler_count == 0) == (o.upscalers == nullptr),
             "upscalers and upscaler_count go together, at most 8: upscaler_count is ", o.upscaler_count, ", upscalers is ",
             o.upscalers ? "given" : "NULL");
  for (int32_t i = 0; i < o.upscaler_count; ++i) e.upscalers.push_back(required_path(o.upscalers[i], "upscaler path"));
  return e;
}

Engine& usable(ltxv_engine* engine) {
  require(engine, "engine");
  check_process();
  return *engine->engine;
}

/// Rounds of a count that the ABI carries in 32 bits.
int32_t narrow(int64_t value) { return static_cast<int32_t>(std::min<int64_t>(value, INT32_MAX)); }

}  // namespace
}  // namespace ltxv::api

using namespace ltxv::api;

ltxv_status ltxv_engine_open(const ltxv_engine_options* options, ltxv_engine** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    check_process();
    const auto open = to_engine_options(read_versioned(options, "engine options"));
    mark_process();
    auto engine = ltxv::Engine::open(open);
    std::string description = engine->describe_json();
    *out = new ltxv_engine{std::move(engine), std::move(description)};
  });
}

const char* ltxv_engine_describe(const ltxv_engine* engine) noexcept {
  return engine == nullptr ? nullptr : engine->description.c_str();
}

ltxv_status ltxv_engine_info(const ltxv_engine* engine, ltxv_engine_properties* out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    const ltxv::ModelSpec& spec = require(engine, "engine")->engine->spec();
    const ltxv::Preset& preset = spec.preset("");
    const ltxv::Compression compression = spec.vae.compression;
    ltxv_engine_properties p{};
    p.spatial_compression = narrow(compression.spatial);
    p.temporal_compression = narrow(compression.temporal);
    p.latent_channel_count = narrow(spec.vae.latent_channels);
    p.width_px = narrow(preset.width);
    p.height_px = narrow(preset.height);
    p.frame_count = narrow(preset.frame_count);
    p.step_count = narrow(preset.sigmas.empty() ? preset.step_count : static_cast<int64_t>(preset.sigmas.size()));
    p.frames_per_second = preset.frames_per_second;
    const auto& scales = preset.pass.guidance_scales;
    const auto& timesteps = preset.pass.guidance_timesteps;
    p.guidance_scale = scales.empty() ? preset.guidance_scale : *std::max_element(scales.begin(), scales.end());
    if (scales.size() > 1) {
      p.guidance_scales = scales.data(), p.guidance_scale_count = narrow(static_cast<int64_t>(scales.size()));
      p.guidance_timesteps = timesteps.data(), p.guidance_timestep_count = narrow(static_cast<int64_t>(timesteps.size()));
    }
    p.seed = preset.seed;
    write_versioned(out, p, "out");
  });
}

void ltxv_engine_free(ltxv_engine* engine) noexcept {
  // In a forked child the locks and threads the destructor may touch belong to the parent: the pages go with the child.
  if (!is_forked_child()) delete engine;
}

ltxv_status ltxv_generate(ltxv_engine* engine, const ltxv_generate_options* options, ltxv_video** out,
                          ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    ltxv::Engine& usable_engine = usable(engine);
    const auto o = read_versioned(require(options, "options"), "generate options");
    ltxv::GenerateResult result = usable_engine.generate(to_request(o), run_hooks(o));
    *out = new ltxv_video{.frames = result.frames.contiguous(),
                          .latents = result.latents,
                          .frames_per_second = result.resolved.request.frames_per_second,
                          .metadata_json = std::move(result.metadata_json)};
  });
}

ltxv_status ltxv_generate_file(ltxv_engine* engine, const ltxv_generate_options* options, const char* path, ltxv_text** out,
                               ltxv_error* error) noexcept {
  return guarded(error, [&] {
    if (out) *out = nullptr;
    ltxv::Engine& usable_engine = usable(engine);
    const auto o = read_versioned(require(options, "options"), "generate options");
    auto result = ltxv::generate_to_file(usable_engine, to_request(o), required_path(path, "path"), run_hooks(o));
    if (out) *out = new ltxv_text{std::move(result.metadata_json)};
  });
}

ltxv_status ltxv_generate_resolve(ltxv_engine* engine, const ltxv_generate_options* options, ltxv_text** out,
                                  ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    const ltxv::Engine& usable_engine = usable(engine);
    const auto o = read_versioned(require(options, "options"), "generate options");
    *out = new ltxv_text{usable_engine.resolve_json(to_request(o))};
  });
}

ltxv_status ltxv_embed(ltxv_engine* engine, const ltxv_embed_options* options, ltxv_tensors** out,
                       ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    ltxv::Engine& usable_engine = usable(engine);
    const auto o = read_versioned(require(options, "options"), "embed options");
    LTXV_CHECK(o.max_text_tokens >= 0, "max_text_tokens is ", o.max_text_tokens, ", allowed is 1 or more, or 0");
    const auto embeds = usable_engine.embed(utf8(o.prompt, "prompt"), o.max_text_tokens, run_hooks(o));
    *out = new ltxv_tensors{
        {{"prompt_embeds", embeds.embeds.contiguous()}, {"prompt_attention_mask", embeds.mask.contiguous()}}};
  });
}

ltxv_status ltxv_encode(ltxv_engine* engine, const ltxv_tensors* frames, const ltxv_encode_options* options,
                        ltxv_tensors** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    ltxv::Engine& usable_engine = usable(engine);
    const auto o = read_versioned(options, "encode options");
    *out = new ltxv_tensors{{{"latents", usable_engine.encode(checked_frames(frames), run_hooks(o)).contiguous()}}};
  });
}

ltxv_status ltxv_upscale(ltxv_engine* engine, const ltxv_tensors* latents, const ltxv_upscale_options* options,
                         ltxv_tensors** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    ltxv::Engine& usable_engine = usable(engine);
    const auto o = read_versioned(options, "upscale options");
    const at::Tensor input = find_tensor(*require(latents, "latents"), "latents");
    *out = new ltxv_tensors{{{"latents", usable_engine.upscale(input, o.adain, run_hooks(o)).contiguous()}}};
  });
}

ltxv_status ltxv_decode(ltxv_engine* engine, const ltxv_tensors* latents, const ltxv_decode_options* options,
                        ltxv_video** out, ltxv_error* error) noexcept {
  return guarded(error, [&] {
    start_output(out);
    ltxv::Engine& usable_engine = usable(engine);
    const auto o = read_versioned(options, "decode options");
    check_zero_fields(o.zero_fields, LTXV_ZERO_DECODE_TIMESTEP | LTXV_ZERO_DECODE_NOISE_SCALE | LTXV_ZERO_SEED,
                      "decode options");
    const at::Tensor input = find_tensor(*require(latents, "latents"), "latents");
    const double rate =
        o.frames_per_second == 0 ? usable_engine.spec().preset("").frames_per_second : o.frames_per_second;
    LTXV_CHECK(rate > 0 && rate <= 1000, "frames_per_second is ", rate, ", allowed is more than 0, at most 1000");
    const auto check = [](double value, const char* name) {
      LTXV_CHECK(value >= 0 && value <= 1, name, " is ", value, ", allowed are 0 to 1");
      return value;
    };
    ltxv::DecodeRequest request;
    if (const auto t = given(o.decode_timestep, o.zero_fields, LTXV_ZERO_DECODE_TIMESTEP))
      request.timestep = check(*t, "decode_timestep");
    if (const auto s = given(o.decode_noise_scale, o.zero_fields, LTXV_ZERO_DECODE_NOISE_SCALE))
      request.noise_scale = check(*s, "decode_noise_scale");
    request.noise_space = noise_space(o.decode_noise_space);
    request.seed = o.seed;
    request.noise_path = path_or_empty(o.noise_path);
    *out = new ltxv_video{.frames = usable_engine.decode(input, request, run_hooks(o)).contiguous(),
                          .frames_per_second = rate,
                          .metadata_json = "{}"};
  });
}
