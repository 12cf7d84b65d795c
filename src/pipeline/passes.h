#pragma once
// How a request becomes one pass, or two with upsamplers between them. Torch-free.
#include "pipeline/request.h"

namespace ltxv {

/// The preset a request names; without a name the first one that goes with the number of passes. Errors: InvalidArgument.
const Preset& pick_preset(const Request& request, const ModelSpec& spec);

/// Fills the sizes, the frame rate and the frame step of the only or the first pass from `padded`.
/// Errors: InvalidArgument when two passes are asked without the upsampler they need, or the first would be too small.
/// Source: LTX-Video pipeline_ltx_video.py, LTXMultiScalePipeline.__call__.
void plan_first_pass(ResolvedRequest& out, const Preset& preset, const ModelSpec& spec);

/// The second pass of a request whose first one is resolved: its sizes and its settings, merged from the request, the preset and
/// the first pass. Its sigmas and guidance are still to be resolved.
ResolvedRequest plan_second_pass(const ResolvedRequest& first, const Preset& preset, const ModelSpec& spec);

/// What a preset says about guidance and the first pass's steps, where the request is silent: a zero or a "no" in the request is an
/// answer. A schedule of the request's own is not cut by the preset's skipped steps.
void apply_preset_pass(Request& request, const Preset& preset);

}  // namespace ltxv
