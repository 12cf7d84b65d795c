// Presets as JSON: a model's own, and those of the releases.
#include <nlohmann/json.hpp>

#include "diffusion/schedule.h"
#include "pipeline/spec_files.h"
#include "vae/config_object.h"

namespace ltxv {

using nlohmann::json;

Preset preset_from_json(const json& value, const std::string& where, Preset base) {
  ConfigObject object(value, where);
  Preset p = std::move(base);
  p.name = object.string("name", p.name);
  p.width = object.integer("width", p.width, 1, 1 << 16);
  p.height = object.integer("height", p.height, 1, 1 << 16);
  p.frame_count = object.integer("num_frames", p.frame_count, 1, 1 << 20);
  p.frames_per_second = object.number("frame_rate", p.frames_per_second);
  p.step_count = object.integer("num_inference_steps", p.step_count, 1, 10000);
  p.guidance_scale = object.number("guidance_scale", p.guidance_scale);
  p.guidance_rescale = object.number("guidance_rescale", p.guidance_rescale);
  p.image_noise_scale = object.number("image_cond_noise_scale", p.image_noise_scale);
  p.decode_timestep = object.number("decode_timestep", p.decode_timestep);
  p.decode_noise_scale = object.number("decode_noise_scale", p.decode_noise_scale);
  p.negative_prompt = object.string("negative_prompt", p.negative_prompt);
  p.max_text_tokens = object.integer("max_text_tokens", p.max_text_tokens, 1, 4096);
  p.seed = static_cast<uint64_t>(object.integer("seed", static_cast<int64_t>(p.seed), 0, INT64_MAX));
  if (object.has("sigmas")) {
    p.sigmas.clear();
    for (const auto& sigma : object.array("sigmas", 1000)) {
      LTXV_REQUIRE(BadWeights, sigma.is_number(), where, ": \"sigmas\" holds something that is not a number");
      p.sigmas.push_back(sigma.get<double>());
    }
    check_sigmas(p.sigmas);
  }
  object.finish();
  LTXV_REQUIRE(BadWeights, p.frames_per_second > 0, where, ": frame_rate ", p.frames_per_second, " is not positive");
  return p;
}

}  // namespace ltxv
