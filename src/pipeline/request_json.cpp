// The resolved request as one JSON object, stored in output files and echoed by the program.
#include <nlohmann/json.hpp>

#include "pipeline/request.h"

namespace ltxv {

using json = nlohmann::ordered_json;

namespace {

json number_or_list(const std::vector<double>& list) { return list.size() == 1 ? json(list[0]) : json(list); }

// All of it: what were left out would be the preset's when the object is read again.
void add_second_pass(json& j, const ResolvedRequest& first, const ModelSpec& spec) {
  const ResolvedRequest& second = first.last_pass();
  const Request &r = second.request, &before = first.request;
  for (const UpsamplerPart& u : spec.upsamplers) j["upscaler"].push_back(u.path);
  j["passes"] = 2;
  if (before.second_pass.downscale) j["downscale"] = *before.second_pass.downscale;
  j["pass2_computed"] = {{"width", second.computed.width}, {"height", second.computed.height}, {"num_frames", second.computed.frames}};
  j["pass2_sigmas"] = second.sigmas;
  j["pass2_guidance_scale"] = number_or_list(r.guidance_scales);
  j["pass2_guidance_rescale"] = number_or_list(r.guidance_rescales);
  if (!r.guidance_timesteps.empty()) j["pass2_guidance_timesteps"] = r.guidance_timesteps;
  j["pass2_stg_scale"] = number_or_list(r.stg_scales);
  j["pass2_stg_mode"] = r.stg_mode;
  j["pass2_skip_blocks"] = r.skip_blocks;
  j["pass2_cfg_star"] = *r.cfg_star;
  j["pass2_stochastic"] = *r.stochastic;
  j["adain"] = *r.second_pass.adain;
  j["tone_map"] = *r.second_pass.tone_map;
}

}  // namespace

std::string to_json(const ResolvedRequest& resolved, const ModelSpec& spec) {
  const Request& r = resolved.request;
  const PassSettings& preset = spec.preset(r.preset).pass;
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
  if (!r.noise_path.empty() && r.noise_kind == NoiseKind::torch_tokens) j["noise_kind"] = "torch_tokens";
  j["width"] = resolved.asked.width;
  j["height"] = resolved.asked.height;
  j["num_frames"] = resolved.asked.frames;
  if (resolved.computed != resolved.asked)
    j["computed"] = {{"width", resolved.computed.width}, {"height", resolved.computed.height}, {"num_frames", resolved.computed.frames}};
  j["frame_rate"] = r.frames_per_second;
  j["num_inference_steps"] = r.step_count;
  j["sigmas"] = resolved.sigmas;
  j["guidance_scale"] = number_or_list(r.guidance_scales);
  j["guidance_rescale"] = number_or_list(r.guidance_rescales);
  if (!r.guidance_timesteps.empty()) j["guidance_timesteps"] = r.guidance_timesteps;
  // Also a 0 and a "no" where the preset, when the object is read again, would say otherwise.
  if (*r.cfg_star || preset.cfg_star) j["cfg_star"] = *r.cfg_star;
  if (r.stg_scales != std::vector<double>{0} || !preset.stg_scales.empty()) {
    j["stg_scale"] = number_or_list(r.stg_scales);
    j["stg_mode"] = r.stg_mode;
    j["skip_blocks"] = r.skip_blocks;
  }
  if (*r.stochastic || preset.stochastic) j["stochastic"] = *r.stochastic;
  if (r.pass_count == 2) add_second_pass(j, resolved, spec);
  if (!r.input_video_path.empty()) j["input_video"] = r.input_video_path;
  if (!r.mask_path.empty()) j["mask"] = r.mask_path;
  if (r.mask_blend > 0) j["mask_blend"] = r.mask_blend;
  if (r.outpaint) j["outpaint"] = true;
  if (r.composite) j["composite"] = true;
  if (r.window.frame_count > 0) {
    j["window_frames"] = r.window.frame_count;
    j["window_overlap"] = *r.window.overlap;
    j["window_strength"] = *r.window.overlap_strength;
    j["window_match"] = *r.window.match;
    j["window_eta"] = *r.window.eta;
  }
  if (r.text_padding == TextPadding::attended) j["text_padding"] = "attended";
  if (r.frame_positions != FramePositions::model)
    j["frame_positions"] = r.frame_positions == FramePositions::causal ? "causal" : "plain";
  j["max_text_tokens"] = r.max_text_tokens;
  json conditions = json::array();
  for (const ConditionItem& c : r.conditions)
    conditions.push_back({{"path", c.path}, {"frame", c.frame_index}, {"strength", c.strength}});
  json loras = json::array();
  for (const LoraItem& lora : r.loras) loras.push_back({{"path", lora.path}, {"strength", lora.strength}});
  if (!loras.empty()) j["loras"] = loras;
  if (!r.control_path.empty()) {
    j["control"] = r.control_path;
    j["control_strength"] = r.control_strength;
  }
  if (!conditions.empty()) j["conditions"] = conditions;
  if (!conditions.empty() || r.outpaint || !r.mask_path.empty() || !r.control_path.empty()) j["image_noise_scale"] = *r.image_noise_scale;
  if (r.image_prep != ImagePrep::plain) j["image_prep"] = r.image_prep == ImagePrep::official ? "official" : "diffusers";
  if (r.image_prep == ImagePrep::official) j["image_crf"] = *r.image_crf;
  if (spec.vae.timestep_conditioning) {
    j["decode_timestep"] = *r.decode_timestep;
    j["decode_noise_scale"] = *r.decode_noise_scale;
    if (r.decode_noise_space == NoiseSpace::raw) j["decode_noise_space"] = "raw";
  }
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace ltxv
