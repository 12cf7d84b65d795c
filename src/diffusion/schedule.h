#pragma once
// Lists of noise levels. sigma in [0,1]: 1 = pure noise; x_sigma = (1 - sigma) * clean + sigma * noise. All lists are descending and
// leave out the final 0, which every sampler appends. Torch-free.
#include <cstdint>
#include <vector>

namespace ltxv {

/// linspace(1, 1/n, n), then t' = s t / (1 + (s - 1) t).   Errors: InvalidArgument for step_count < 1 or shift <= 0.
/// Source: diffusers scheduling_flow_match_euler_discrete.py, set_timesteps; pipeline_ltx.py passes the linspace.
std::vector<double> uniform_sigmas(int64_t step_count, double shift);

/// Strength of the SD3 shift: a line through (base_tokens, base_shift) and (max_tokens, max_shift), not clamped.
struct ShiftLine {
  double base_shift, max_shift, base_tokens, max_tokens;
};

/// t' = e^mu / (e^mu + 1/t - 1) on the uniform list, then stretched so that the last entry is `terminal` (0: no stretch).
/// Errors: InvalidArgument for step_count < 2 when a terminal is asked: the stretch divides by zero with one step.
/// Source: LTX-Video schedulers/rf.py, sd3_resolution_dependent_timestep_shift and strech_shifts_to_terminal.
std::vector<double> shifted_sigmas(int64_t step_count, int64_t token_count, const ShiftLine& line, double terminal);

/// Half of the steps fall linearly to 1 - threshold, the rest quadratically to 0.
/// Source: LTX-Video schedulers/rf.py, linear_quadratic_schedule.
std::vector<double> linear_quadratic_sigmas(int64_t step_count, double threshold = 0.025);

/// Checks an explicit list. Errors: InvalidArgument unless it is descending within (0, 1] and not empty.
void check_sigmas(const std::vector<double>& sigmas);

}  // namespace ltxv
