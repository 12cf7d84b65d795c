// ltxv.hpp - C++20 over the C ABI of ltxv.h: handles that free themselves, exceptions, option structs with designated
// initialisers. Header only; needs neither LibTorch nor anything else at compile time.
//
//   ltxv::engine engine({.model = "shapes"});
//   ltxv::video video = engine.generate({.prompt = "a red circle moves to the right on a black background", .seed =
//   7}); video.write("out.mp4"); for (const ltxv::frame& frame : video) show(frame.rgb, frame.width_px,
//   frame.height_px);
//
// Every failure throws ltxv::error. Thread rules are those of ltxv.h. An exception thrown by a callback stops the run
// and comes out of the call that made it.
#ifndef LTXV_LTXV_HPP
#define LTXV_LTXV_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltxv/ltxv.h"

namespace ltxv {

/// code() is one of the LTXV_ constants; what() is one line that names the file, tensor or option.
class error : public std::runtime_error {
 public:
  error(ltxv_status code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ltxv_status code() const noexcept { return code_; }

 private:
  ltxv_status code_;
};

namespace detail {

/// Calls a function of the C ABI with an error struct as its last argument. Returns LTXV_OK or LTXV_END.
template <class Function, class... Arguments>
ltxv_status call(Function&& function, Arguments&&... arguments) {
  ltxv_error failure = ltxv_error_init();
  const ltxv_status status = function(std::forward<Arguments>(arguments)..., &failure);
  if (status < 0) throw error(status, failure.message);
  return status;
}

template <class T, void (*kFree)(T*) noexcept>
struct deleter {
  void operator()(T* handle) const noexcept { kFree(handle); }
};
template <class T, void (*kFree)(T*) noexcept>
using handle = std::unique_ptr<T, deleter<T, kFree>>;

inline const char* c_string(const std::string& value) { return value.empty() ? nullptr : value.c_str(); }
inline const char* c_string(const std::optional<std::string>& value) { return value ? value->c_str() : nullptr; }

}  // namespace detail

inline std::string_view version() { return ltxv_version(); }
/// JSON on this build.
inline std::string_view describe() { return ltxv_describe(); }

/// Stops the runs it was given to. Copies share one switch.
class cancel_token {
 public:
  cancel_token() {
    ltxv_cancel* raw = nullptr;
    detail::call(ltxv_cancel_new, &raw);
    handle_.reset(raw, ltxv_cancel_free);
  }
  void trip() const noexcept { ltxv_cancel_trip(handle_.get()); }
  ltxv_cancel* get() const noexcept { return handle_.get(); }

 private:
  std::shared_ptr<ltxv_cancel> handle_;
};

enum class stage : int32_t {
  load = LTXV_STAGE_LOAD,
  text = LTXV_STAGE_TEXT,
  encode = LTXV_STAGE_ENCODE,
  denoise = LTXV_STAGE_DENOISE,
  decode = LTXV_STAGE_DECODE,
  write = LTXV_STAGE_WRITE
};

struct progress {
  ltxv::stage stage = ltxv::stage::load;
  int32_t step = 0;        ///< finished units of this stage
  int32_t step_count = 0;  ///< 0 when unknown
  double elapsed_seconds = 0;
};

/// Callbacks of one call; each may be empty.
struct hooks {
  std::function<bool(const progress&)> on_progress = {};             ///< false stops the run
  std::function<void(int32_t level, std::string_view)> on_log = {};  ///< LTXV_LOG_...
  std::optional<cancel_token> cancel = {};
};

namespace detail {

/// Carries callbacks through the C ABI, and an exception of a callback back to the caller.
class hook_bridge {
 public:
  explicit hook_bridge(const hooks& h) : hooks_(h) {}
  hook_bridge(const hook_bridge&) = delete;

  template <class Options>
  void attach(Options& options) {
    options.user_data = this;
    // The progress callback is also what stops a run after the log callback threw.
    if (hooks_.on_progress || hooks_.on_log) options.on_progress = &hook_bridge::progress_thunk;
    if (hooks_.on_log) options.on_log = &hook_bridge::log_thunk;
    if (hooks_.cancel) options.cancel = hooks_.cancel->get();
  }

  template <class... Arguments>
  void call(Arguments&&... arguments) {
    try {
      detail::call(std::forward<Arguments>(arguments)...);
    } catch (const error&) {
      if (thrown_) std::rethrow_exception(thrown_);
      throw;
    }
  }

 private:
  static int32_t progress_thunk(const ltxv_progress* p, void* user) {
    auto& self = *static_cast<hook_bridge*>(user);
    if (self.thrown_) return 1;
    try {
      if (!self.hooks_.on_progress) return 0;
      return self.hooks_.on_progress({static_cast<stage>(p->stage), p->step, p->step_count, p->elapsed_seconds}) ? 0
                                                                                                                 : 1;
    } catch (...) {
      self.thrown_ = std::current_exception();
      return 1;
    }
  }
  static void log_thunk(int32_t level, const char* message, void* user) {
    auto& self = *static_cast<hook_bridge*>(user);
    try {
      if (!self.thrown_) self.hooks_.on_log(level, message);
    } catch (...) {
      self.thrown_ = std::current_exception();
    }
  }

  const hooks& hooks_;
  std::exception_ptr thrown_;
};

}  // namespace detail

/// One tensor of a set; pointers are valid while the set lives unchanged.
struct tensor_view {
  std::string_view name;
  int32_t dtype = 0;  ///< LTXV_F32 ...
  std::span<const int64_t> shape;
  std::span<const std::byte> bytes;

  /// The elements as T, whose size must be that of the dtype.
  template <class T>
  std::span<const T> as() const {
    size_t count = 1;
    for (const int64_t size : shape) count *= static_cast<size_t>(size);
    if (count * sizeof(T) != bytes.size())
      throw error(LTXV_INVALID_ARGUMENT, "element size does not fit tensor '" + std::string(name) + "'");
    return {reinterpret_cast<const T*>(bytes.data()), count};
  }
};

/// Named tensors in host memory.
class tensors {
 public:
  tensors() {
    ltxv_tensors* raw = nullptr;
    detail::call(ltxv_tensors_new, &raw);
    handle_.reset(raw);
  }
  explicit tensors(ltxv_tensors* owned) noexcept : handle_(owned) {}
  static tensors load(const std::string& path) {
    ltxv_tensors* raw = nullptr;
    detail::call(ltxv_tensors_load, path.c_str(), &raw);
    return tensors(raw);
  }
  /// Complete or absent.
  void save(const std::string& path) const { detail::call(ltxv_tensors_save, get(), path.c_str()); }

  int32_t size() const noexcept { return ltxv_tensors_count(get()); }
  tensor_view at(int32_t index) const {
    ltxv_tensor_view raw = ltxv_tensor_view_init();
    detail::call(ltxv_tensors_at, get(), index, &raw);
    return view(raw);
  }
  tensor_view operator[](const std::string& name) const {
    ltxv_tensor_view raw = ltxv_tensor_view_init();
    detail::call(ltxv_tensors_get, get(), name.c_str(), &raw);
    return view(raw);
  }
  /// Copies row-major data.
  void add(const std::string& name, std::span<const int64_t> shape, std::span<const float> values) {
    ltxv_tensor_view raw = ltxv_tensor_view_init();
    raw.dtype = LTXV_F32;
    raw.rank = static_cast<int32_t>(shape.size());
    raw.shape = shape.data();
    raw.data = values.data();
    raw.byte_count = values.size_bytes();
    raw.name = name.c_str();
    detail::call(ltxv_tensors_add, get(), &raw);
  }
  /// Shares without a copy; the receiver calls the struct's deleter once.
  DLManagedTensor* export_dlpack(const std::string& name) const {
    DLManagedTensor* raw = nullptr;
    detail::call(ltxv_tensors_export_dlpack, get(), name.c_str(), &raw);
    return raw;
  }
  /// Copies a host tensor; the caller keeps it.
  void import_dlpack(const std::string& name, const DLManagedTensor* tensor) {
    detail::call(ltxv_tensors_import_dlpack, get(), name.c_str(), tensor);
  }
  ltxv_tensors* get() const noexcept { return handle_.get(); }

 private:
  static tensor_view view(const ltxv_tensor_view& v) {
    return {v.name,
            v.dtype,
            {v.shape, static_cast<size_t>(v.rank)},
            {static_cast<const std::byte*>(v.data), static_cast<size_t>(v.byte_count)}};
  }
  detail::handle<ltxv_tensors, ltxv_tensors_free> handle_;
};

/// One picture, RGB24; `rgb` is valid until the next one is asked for.
struct frame {
  int32_t index = 0, width_px = 0, height_px = 0;
  int64_t stride_bytes = 0;
  double time_seconds = 0;
  std::span<const uint8_t> rgb;
};

/// A finished clip.
class video {
 public:
  explicit video(ltxv_video* owned) noexcept : handle_(owned) {}
  /// From `frames` f32 [1,3,T,H,W] in [-1,1].
  video(const tensors& frames, double frames_per_second) {
    ltxv_video* raw = nullptr;
    detail::call(ltxv_video_new, frames.get(), frames_per_second, &raw);
    handle_.reset(raw);
  }
  /// Width and height 0: as they are. frame_count 0: all.
  static video read(const std::string& path, int32_t width_px = 0, int32_t height_px = 0, int32_t frame_count = 0) {
    ltxv_video* raw = nullptr;
    detail::call(ltxv_read_frames, path.c_str(), width_px, height_px, frame_count, &raw);
    return video(raw);
  }

  ltxv_video_properties info() const {
    ltxv_video_properties properties = ltxv_video_properties_init();
    detail::call(ltxv_video_info, get(), &properties);
    return properties;
  }
  /// JSON: prompt, seed, every setting.
  std::string_view metadata() const noexcept { return ltxv_video_metadata(get()); }
  /// `frames` f32 before clamping, and `latents` of a generated clip; no copy.
  ltxv::tensors tensors() const {
    ltxv_tensors* raw = nullptr;
    detail::call(ltxv_video_tensors, get(), &raw);
    return ltxv::tensors(raw);
  }
  /// By extension: .mp4 .mkv .webm .gif .png .safetensors; complete or absent. frames_per_second 0: the clip's.
  void write(const std::string& path, double frames_per_second = 0, const hooks& h = {}) const {
    ltxv_write_options options = ltxv_write_options_init();
    options.frames_per_second = frames_per_second;
    detail::hook_bridge bridge(h);
    bridge.attach(options);
    bridge.call(ltxv_video_write, get(), path.c_str(), &options);
  }

  void rewind() { detail::call(ltxv_video_rewind, get()); }
  /// The next picture, or nullopt after the last.
  std::optional<ltxv::frame> next() {
    ltxv_frame raw = ltxv_frame_init();
    if (detail::call(ltxv_video_next_frame, get(), &raw) == LTXV_END) return std::nullopt;
    return ltxv::frame{raw.index,        raw.width_px,
                       raw.height_px,    raw.stride_bytes,
                       raw.time_seconds, {raw.rgb, static_cast<size_t>(raw.stride_bytes * raw.height_px)}};
  }

  /// Single pass over the pictures, from the first.
  class iterator {
   public:
    using value_type = ltxv::frame;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    iterator() = default;
    explicit iterator(video& owner) : owner_(&owner) { ++*this; }
    const ltxv::frame& operator*() const { return *current_; }
    iterator& operator++() {
      current_ = owner_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !current_; }

   private:
    video* owner_ = nullptr;
    std::optional<ltxv::frame> current_;
  };
  iterator begin() {
    rewind();
    return iterator(*this);
  }
  std::default_sentinel_t end() const { return {}; }
  ltxv_video* get() const noexcept { return handle_.get(); }

 private:
  detail::handle<ltxv_video, ltxv_video_free> handle_;
};

struct engine_options {
  std::string model = {};  ///< empty: the bundled "shapes"
  std::string text_encoder = {}, tokenizer = {}, vae = {}, transformer = {}, release = {};
  std::string device = {}, dtype = {};  ///< empty: "auto"; device "cuda:0,cuda:1": each step is computed on both
  int32_t thread_count = 0;             ///< 0: physical cores
  bool copy_files = false;
  std::vector<std::string> upscalers = {};  ///< latent upsamplers for a second pass, in the order they act
  bool cuda_graphs = false;             ///< record a prediction of the transformer once and replay it, on a CUDA device
  std::int64_t device_memory_bytes = 0; ///< use no more of a CUDA device's memory than this, in the whole process; 0: all of it
  std::string quantization = {};        ///< of the transformer's matrix products: "none", "fp8", "int8" (CPU only); empty: "none"
  std::string attention = {};           ///< of the transformer over its own tokens: "exact", "int8" (for CUDA); empty: "exact"
};

struct condition {
  std::string path = {};
  int32_t frame_index = 0;
  double strength = 1;
};

struct lora {
  std::string path = {};
  double strength = 1;
};

enum class noise_kind : int32_t { preset = 0, torch = LTXV_NOISE_TORCH, torch_tokens = LTXV_NOISE_TORCH_TOKENS };

/// Fields left alone take the preset's value, else the first pass's; their meaning is documented at ltxv_second_pass.
struct second_pass {
  int32_t step_count = 0;
  std::vector<double> sigmas = {};
  std::optional<int32_t> skip_first_steps = {}, skip_last_steps = {};
  std::vector<double> guidance_timesteps = {}, guidance_scales = {}, guidance_rescales = {}, stg_scales = {};
  std::string stg_mode = {}, skip_blocks = {};
  std::optional<bool> cfg_star = {}, stochastic = {};
  double downscale = 0;
  std::optional<double> adain = {}, tone_map = {};
};

/// Fields left alone take the preset's value; their meaning is documented at ltxv_generate_options.
struct generate_options {
  std::string prompt = {};
  std::optional<std::string> negative_prompt = {};
  std::string prompt_embeds_path = {}, negative_prompt_embeds_path = {};
  int32_t width_px = 0, height_px = 0, frame_count = 0;
  double seconds = 0, frames_per_second = 0;
  int32_t step_count = 0;
  std::vector<double> sigmas = {};
  std::optional<double> guidance_scale = {}, guidance_rescale = {};
  std::optional<uint64_t> seed = {};
  ltxv::noise_kind noise_kind = ltxv::noise_kind::preset;
  int32_t max_text_tokens = 0;
  std::vector<condition> conditions = {};
  std::optional<double> image_noise_scale = {}, decode_timestep = {}, decode_noise_scale = {};
  std::string noise_path = {}, save_noise_path = {}, save_latents_path = {};
  std::string preset = {};
  std::vector<double> guidance_timesteps = {}, guidance_scales = {}, guidance_rescales = {}, stg_scales = {};
  std::string stg_mode = {}, skip_blocks = {};
  std::optional<bool> cfg_star = {}, stochastic = {};
  std::optional<int32_t> skip_first_steps = {}, skip_last_steps = {};
  std::string input_video_path = {};
  std::optional<double> strength = {};
  std::vector<lora> loras = {};
  std::string control_path = {};
  double control_strength = 1;
  std::string mask_path = {};
  std::string image_prep = {}, decode_noise_space = {}, text_padding = {}, frame_positions = {};
  std::optional<int32_t> image_crf = {};
  int32_t mask_blend = 0;
  bool outpaint = false, composite = false;
  int32_t window_frames = 0, window_overlap = 0;
  std::optional<double> window_strength = {}, window_match = {}, window_eta = {};
  ltxv::second_pass second_pass = {};
  int32_t pass_count = 0;
  std::string request_json = {};
};

struct decode_options {
  std::optional<double> decode_timestep = {}, decode_noise_scale = {};
  uint64_t seed = 0;
  std::string noise_path = {};
  double frames_per_second = 0;
  std::string decode_noise_space = {};
};

namespace detail {

template <class T>
T value_or_marked(const std::optional<T>& value, uint32_t bit, uint32_t& zero_fields) {
  if (value && *value == T{}) zero_fields |= bit;
  return value.value_or(T{});
}

/// A C struct that points into the C++ one and its own array: neither may move while it is used.
struct generate_arguments {
  ltxv_generate_options c = ltxv_generate_options_init();
  std::vector<ltxv_condition> conditions;
  std::vector<ltxv_lora> loras;
  ltxv_second_pass second = ltxv_second_pass_init();

  explicit generate_arguments(const generate_options& o) {
    c.prompt = o.prompt.empty() && !o.prompt_embeds_path.empty() ? nullptr : o.prompt.c_str();
    c.negative_prompt = c_string(o.negative_prompt);
    c.prompt_embeds_path = c_string(o.prompt_embeds_path);
    c.negative_prompt_embeds_path = c_string(o.negative_prompt_embeds_path);
    c.width_px = o.width_px;
    c.height_px = o.height_px;
    c.frame_count = o.frame_count;
    c.seconds = o.seconds;
    c.frames_per_second = o.frames_per_second;
    c.step_count = o.step_count;
    c.sigma_count = static_cast<int32_t>(o.sigmas.size());
    c.sigmas = o.sigmas.empty() ? nullptr : o.sigmas.data();
    c.guidance_scale = value_or_marked(o.guidance_scale, LTXV_ZERO_GUIDANCE_SCALE, c.zero_fields);
    c.guidance_rescale = value_or_marked(o.guidance_rescale, LTXV_ZERO_GUIDANCE_RESCALE, c.zero_fields);
    c.seed = value_or_marked(o.seed, LTXV_ZERO_SEED, c.zero_fields);
    c.noise_kind = static_cast<int32_t>(o.noise_kind);
    c.max_text_tokens = o.max_text_tokens;
    for (const condition& item : o.conditions) {
      ltxv_condition one = ltxv_condition_init();
      one.path = item.path.c_str();
      one.frame_index = item.frame_index;
      one.strength = item.strength;
      if (item.strength == 0) one.zero_fields = LTXV_ZERO_STRENGTH;
      conditions.push_back(one);
    }
    c.condition_count = static_cast<int32_t>(conditions.size());
    c.conditions = conditions.empty() ? nullptr : conditions.data();
    for (const lora& item : o.loras) {
      ltxv_lora one = ltxv_lora_init();
      one.path = item.path.c_str();
      one.strength = item.strength;
      if (item.strength == 0) one.zero_fields = LTXV_ZERO_STRENGTH;
      loras.push_back(one);
    }
    c.lora_count = static_cast<int32_t>(loras.size());
    c.loras = loras.empty() ? nullptr : loras.data();
    c.control_path = c_string(o.control_path);
    c.control_strength = o.control_strength;
    fill_sampling(o, c);
    c.input_video_path = c_string(o.input_video_path);
    c.strength = value_or_marked(o.strength, LTXV_ZERO_STRENGTH, c.zero_fields);
    c.mask_path = c_string(o.mask_path);
    c.image_prep = c_string(o.image_prep);
    c.decode_noise_space = c_string(o.decode_noise_space);
    c.text_padding = c_string(o.text_padding);
    c.frame_positions = c_string(o.frame_positions);
    c.request_json = c_string(o.request_json);
    c.image_crf = value_or_marked(o.image_crf, LTXV_ZERO_IMAGE_CRF, c.zero_fields);
    c.mask_blend = o.mask_blend;
    c.outpaint = o.outpaint ? 1 : 0;
    c.composite = o.composite ? 1 : 0;
    c.window_frames = o.window_frames;
    c.window_overlap = o.window_overlap;
    c.window_strength = value_or_marked(o.window_strength, LTXV_ZERO_WINDOW_STRENGTH, c.zero_fields);
    c.window_match = value_or_marked(o.window_match, LTXV_ZERO_WINDOW_MATCH, c.zero_fields);
    c.window_eta = value_or_marked(o.window_eta, LTXV_ZERO_WINDOW_ETA, c.zero_fields);
    c.image_noise_scale = value_or_marked(o.image_noise_scale, LTXV_ZERO_IMAGE_NOISE_SCALE, c.zero_fields);
    c.decode_timestep = value_or_marked(o.decode_timestep, LTXV_ZERO_DECODE_TIMESTEP, c.zero_fields);
    c.decode_noise_scale = value_or_marked(o.decode_noise_scale, LTXV_ZERO_DECODE_NOISE_SCALE, c.zero_fields);
    c.noise_path = c_string(o.noise_path);
    c.save_noise_path = c_string(o.save_noise_path);
    c.save_latents_path = c_string(o.save_latents_path);
    c.preset = c_string(o.preset);
    c.pass_count = o.pass_count;
    fill_second_pass(o.second_pass);
    c.second_pass = &second;
  }
  static void list(const std::vector<double>& values, const double*& data, int32_t& count) {
    data = values.empty() ? nullptr : values.data();
    count = static_cast<int32_t>(values.size());
  }
  // What both passes have under the same names.
  template <class From, class To>
  static void fill_sampling(const From& o, To& c) {
    list(o.guidance_timesteps, c.guidance_timesteps, c.guidance_timestep_count);
    list(o.guidance_scales, c.guidance_scales, c.guidance_scale_count);
    list(o.guidance_rescales, c.guidance_rescales, c.guidance_rescale_count);
    list(o.stg_scales, c.stg_scales, c.stg_scale_count);
    c.stg_mode = c_string(o.stg_mode);
    c.skip_blocks = c_string(o.skip_blocks);
    c.cfg_star = value_or_marked(o.cfg_star, LTXV_ZERO_CFG_STAR, c.zero_fields);
    c.stochastic = value_or_marked(o.stochastic, LTXV_ZERO_STOCHASTIC, c.zero_fields);
    c.skip_first_steps = value_or_marked(o.skip_first_steps, LTXV_ZERO_SKIP_FIRST_STEPS, c.zero_fields);
    c.skip_last_steps = value_or_marked(o.skip_last_steps, LTXV_ZERO_SKIP_LAST_STEPS, c.zero_fields);
  }
  void fill_second_pass(const second_pass& p) {
    second.step_count = p.step_count;
    list(p.sigmas, second.sigmas, second.sigma_count);
    fill_sampling(p, second);
    second.downscale = p.downscale;
    second.adain = value_or_marked(p.adain, LTXV_ZERO_ADAIN, second.zero_fields);
    second.tone_map = value_or_marked(p.tone_map, LTXV_ZERO_TONE_MAP, second.zero_fields);
  }
  generate_arguments(const generate_arguments&) = delete;
};

inline std::string take_text(ltxv_text* raw) {
  const handle<ltxv_text, ltxv_text_free> text(raw);
  return ltxv_text_data(text.get());
}

}  // namespace detail

/// One model. May be used by several threads at once.
class engine {
 public:
  explicit engine(const engine_options& o = {}) {
    ltxv_engine_options c = ltxv_engine_options_init();
    c.model = detail::c_string(o.model);
    c.text_encoder = detail::c_string(o.text_encoder);
    c.tokenizer = detail::c_string(o.tokenizer);
    c.vae = detail::c_string(o.vae);
    c.transformer = detail::c_string(o.transformer);
    c.release = detail::c_string(o.release);
    c.device = detail::c_string(o.device);
    c.dtype = detail::c_string(o.dtype);
    c.thread_count = o.thread_count;
    c.copy_files = o.copy_files ? 1 : 0;
    c.cuda_graphs = o.cuda_graphs ? 1 : 0;
    c.device_memory_bytes = o.device_memory_bytes;
    c.quantization = detail::c_string(o.quantization);
    c.attention = detail::c_string(o.attention);
    std::vector<const char*> upscalers;
    for (const std::string& path : o.upscalers) upscalers.push_back(path.c_str());
    c.upscalers = upscalers.empty() ? nullptr : upscalers.data();
    c.upscaler_count = static_cast<int32_t>(upscalers.size());
    ltxv_engine* raw = nullptr;
    detail::call(ltxv_engine_open, &c, &raw);
    handle_.reset(raw);
  }

  std::string_view describe() const noexcept { return ltxv_engine_describe(get()); }
  ltxv_engine_properties info() const {
    ltxv_engine_properties properties = ltxv_engine_properties_init();
    detail::call(ltxv_engine_info, get(), &properties);
    return properties;
  }

  ltxv::video generate(const generate_options& o, const hooks& h = {}) const {
    detail::generate_arguments arguments(o);
    detail::hook_bridge bridge(h);
    bridge.attach(arguments.c);
    ltxv_video* raw = nullptr;
    bridge.call(ltxv_generate, get(), &arguments.c, &raw);
    return ltxv::video(raw);
  }
  /// Straight into a file, complete or absent; returns the settings stored in it, as JSON. With windows memory does not
  /// grow with the length.
  std::string generate_file(const generate_options& o, const std::string& path, const hooks& h = {}) const {
    detail::generate_arguments arguments(o);
    detail::hook_bridge bridge(h);
    bridge.attach(arguments.c);
    ltxv_text* raw = nullptr;
    bridge.call(ltxv_generate_file, get(), &arguments.c, path.c_str(), &raw);
    return detail::take_text(raw);
  }
  /// What generate would do, as JSON with every value filled in.
  std::string resolve(const generate_options& o) const {
    const detail::generate_arguments arguments(o);
    ltxv_text* raw = nullptr;
    detail::call(ltxv_generate_resolve, get(), &arguments.c, &raw);
    return detail::take_text(raw);
  }
  /// `prompt_embeds` [1,S,D] and `prompt_attention_mask` [1,S].
  ltxv::tensors embed(const std::string& prompt, int32_t max_text_tokens = 0, const hooks& h = {}) const {
    ltxv_embed_options c = ltxv_embed_options_init();
    c.prompt = prompt.c_str();
    c.max_text_tokens = max_text_tokens;
    detail::hook_bridge bridge(h);
    bridge.attach(c);
    ltxv_tensors* raw = nullptr;
    bridge.call(ltxv_embed, get(), &c, &raw);
    return ltxv::tensors(raw);
  }
  /// `frames` f32 [1,3,T,H,W] in [-1,1] -> `latents`.
  ltxv::tensors encode(const ltxv::tensors& frames, const hooks& h = {}) const {
    ltxv_encode_options c = ltxv_encode_options_init();
    detail::hook_bridge bridge(h);
    bridge.attach(c);
    ltxv_tensors* raw = nullptr;
    bridge.call(ltxv_encode, get(), frames.get(), &c, &raw);
    return ltxv::tensors(raw);
  }
  /// `latents` f32 [1,C,T,H,W] -> larger `latents`, through every upscaler of the engine.
  ltxv::tensors upscale(const ltxv::tensors& latents, double adain = 0, const hooks& h = {}) const {
    ltxv_upscale_options c = ltxv_upscale_options_init();
    c.adain = adain;
    detail::hook_bridge bridge(h);
    bridge.attach(c);
    ltxv_tensors* raw = nullptr;
    bridge.call(ltxv_upscale, get(), latents.get(), &c, &raw);
    return ltxv::tensors(raw);
  }
  /// `latents` f32 [1,C,T,H,W] -> a clip.
  ltxv::video decode(const ltxv::tensors& latents, const decode_options& o = {}, const hooks& h = {}) const {
    ltxv_decode_options c = ltxv_decode_options_init();
    c.decode_timestep = detail::value_or_marked(o.decode_timestep, LTXV_ZERO_DECODE_TIMESTEP, c.zero_fields);
    c.decode_noise_scale = detail::value_or_marked(o.decode_noise_scale, LTXV_ZERO_DECODE_NOISE_SCALE, c.zero_fields);
    c.seed = o.seed;
    c.noise_path = detail::c_string(o.noise_path);
    c.frames_per_second = o.frames_per_second;
    c.decode_noise_space = detail::c_string(o.decode_noise_space);
    detail::hook_bridge bridge(h);
    bridge.attach(c);
    ltxv_video* raw = nullptr;
    bridge.call(ltxv_decode, get(), latents.get(), &c, &raw);
    return ltxv::video(raw);
  }
  ltxv_engine* get() const noexcept { return handle_.get(); }

 private:
  detail::handle<ltxv_engine, ltxv_engine_free> handle_;
};

/// JSON on a model folder, model file or tensor file.
inline std::string inspect(const std::string& path) {
  ltxv_text* raw = nullptr;
  detail::call(ltxv_inspect, path.c_str(), &raw);
  return detail::take_text(raw);
}

/// The settings stored in a file this library wrote, as JSON.
inline std::string read_metadata(const std::string& path) {
  ltxv_text* raw = nullptr;
  detail::call(ltxv_metadata_read, path.c_str(), &raw);
  return detail::take_text(raw);
}

struct check_options {
  std::vector<std::string> paths;
  std::string release;
  bool headers_only = false;
};
/// JSON on what files are, whether they are sound and whether they belong together; see ltxv_files_check.
inline std::string check_files(const check_options& o, const hooks& h = {}) {
  ltxv_check_options c = ltxv_check_options_init();
  std::vector<const char*> paths;
  for (const std::string& path : o.paths) paths.push_back(path.c_str());
  c.paths = paths.data();
  c.path_count = static_cast<int32_t>(paths.size());
  c.release = detail::c_string(o.release);
  c.headers_only = o.headers_only ? 1 : 0;
  detail::hook_bridge bridge(h);
  bridge.attach(c);
  ltxv_text* raw = nullptr;
  bridge.call(ltxv_files_check, &c, &raw);
  return detail::take_text(raw);
}

struct convert_options {
  std::vector<std::string> paths;
  std::string release, output, dtype, names;
};
/// Writes model files in another form; JSON on what was written. See ltxv_files_convert.
inline std::string convert_files(const convert_options& o, const hooks& h = {}) {
  ltxv_convert_options c = ltxv_convert_options_init();
  std::vector<const char*> paths;
  for (const std::string& path : o.paths) paths.push_back(path.c_str());
  c.paths = paths.data();
  c.path_count = static_cast<int32_t>(paths.size());
  c.release = detail::c_string(o.release);
  c.output = detail::c_string(o.output);
  c.dtype = detail::c_string(o.dtype);
  c.names = detail::c_string(o.names);
  detail::hook_bridge bridge(h);
  bridge.attach(c);
  ltxv_text* raw = nullptr;
  bridge.call(ltxv_files_convert, &c, &raw);
  return detail::take_text(raw);
}

/// Throws what can be known to fail about writing to `path`.
inline void check_output(const std::string& path) { detail::call(ltxv_output_check, path.c_str()); }

}  // namespace ltxv

#endif
