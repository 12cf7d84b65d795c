#pragma once
// The random draws of a run before it is made: a file of draws is held against them before any heavy work.
#include "pipeline/stages.h"

namespace ltxv {

struct ExpectedDraw {
  std::string name;
  std::vector<int64_t> shape;
};
using ExpectedDraws = std::vector<ExpectedDraw>;

/// Draws of one pass, by the names that start_stage and denoise_stage give them behind `prefix`.
ExpectedDraws pass_draws(const ResolvedRequest& pass, const RunMedia& media, const ModelSpec& spec, const std::string& prefix);

/// Draws of decode_stage for latents of this shape.
ExpectedDraws decode_draws(const ResolvedRequest& last, const LatentShape& latents, const ModelSpec& spec);

/// Errors: InvalidArgument naming the file and the first draw that it lacks or holds in another shape; nothing without a file.
void check_draws(const NoiseSource& noise, const ExpectedDraws& draws);

}  // namespace ltxv
