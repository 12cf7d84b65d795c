// The resolved request as one JSON object, stored in output files and echoed by the program.
#include <nlohmann/json.hpp>

#include "pipeline/request.h"

namespace ltxv {

std::string to_json(const ResolvedRequest& resolved, const ModelSpec& spec) {
  using json = nlohmann::ordered_json;
  const Request& r = resolved.request;
  json j;
  j["model"] = spec.name;
  j["release"] = spec.release;
  j["preset"] = r.preset;
  j["prompt"] = r.prompt;
  j["negative_prompt"] = *r.negative_prompt;
  if (!r.prompt_embeds_path.empty()) j["prompt_embeds"] = r.prompt_embeds_path;
  if (!r.negative_prompt_embeds_path.empty()) j["negative_prompt_embeds"] = r.negative_prompt_embeds_path;
  j["seed"] = *r.seed;
  j["noise"] = r.noise_path.empty() ? (r.noise_kind == NoiseKind::torch ? "torch" : "torch_tokens") : r.noise_path;
  j["width"] = resolved.asked.width;
  j["height"] = resolved.asked.height;
  j["num_frames"] = resolved.asked.frames;
  if (resolved.padded != resolved.asked)
    j["computed"] = {{"width", resolved.padded.width}, {"height", resolved.padded.height}, {"num_frames", resolved.padded.frames}};
  j["frame_rate"] = r.frames_per_second;
  j["num_inference_steps"] = r.step_count;
  j["sigmas"] = resolved.sigmas;
  const auto number_or_list = [](const std::vector<double>& list) { return list.size() == 1 ? json(list[0]) : json(list); };
  j["guidance_scale"] = number_or_list(r.guidance_scales);
  j["guidance_rescale"] = number_or_list(r.guidance_rescales);
  if (!r.guidance_timesteps.empty()) j["guidance_timesteps"] = r.guidance_timesteps;
  if (r.cfg_star) j["cfg_star"] = true;
  if (r.stg_scales != std::vector<double>{0}) {
    j["stg_scale"] = number_or_list(r.stg_scales);
    j["stg_mode"] = r.stg_mode;
    j["skip_blocks"] = r.skip_blocks;
  }
  if (r.stochastic) j["stochastic"] = true;
  if (!r.input_video_path.empty()) j["input_video"] = r.input_video_path;
  j["max_text_tokens"] = r.max_text_tokens;
  json conditions = json::array();
  for (const ConditionItem& c : r.conditions)
    conditions.push_back({{"path", c.path}, {"frame", c.frame_index}, {"strength", c.strength}});
  if (!conditions.empty()) {
    j["conditions"] = conditions;
    j["image_noise_scale"] = *r.image_noise_scale;
  }
  json loras = json::array();
  for (const LoraItem& lora : r.loras) loras.push_back({{"path", lora.path}, {"strength", lora.strength}});
  if (!loras.empty()) j["loras"] = loras;
  if (!r.control_path.empty()) {
    j["control"] = r.control_path;
    j["control_strength"] = r.control_strength;
  }
  if (spec.vae.timestep_conditioning) {
    j["decode_timestep"] = *r.decode_timestep;
    j["decode_noise_scale"] = *r.decode_noise_scale;
  }
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ltxv
