#pragma once
// Videos longer than the model was made for: overlapping windows, one prompt each, joined into one stream of frames.
#include "pipeline/engine_impl.h"

namespace ltxv {

/// The whole run of a request with windows, from prompts to frames. With a sink the frames of a window are handed over before the
/// next one begins, and memory depends on the window, not on the length. Draws "window_00_initial", "window_00_stochastic_00", …,
/// "decode_00", …; without a file of draws every window has a generator of its own, seeded with the seed plus its first latent frame.
/// Errors: as Engine::generate.   Source: diffusers pipeline_ltx_i2v_long_multi_prompt.py, __call__.
GenerateResult generate_long(Engine::Impl& engine, const ResolvedRequest& resolved, const FrameSink* sink, RunContext& run);

}  // namespace ltxv
