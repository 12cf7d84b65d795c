#include "pipeline/piece_decoder.h"

#include <algorithm>

namespace ltxv {
namespace {

// Latent frames on either side of a piece. The decoders reach farther than that, with little weight; every frame more is decoded twice
// more a piece.
constexpr int64_t kContext = 4;

}  // namespace

bool PieceSchedule::push(int64_t count, bool last) {
  context = end - kept_from;
  const int64_t have = waiting + count;
  const int64_t stop = last ? have : have - kContext;
  waiting = have;
  if (stop <= context) {
    end = context, kept_from = 0;
    return false;
  }
  end = stop;
  kept_from = std::max<int64_t>(end - kContext, 0);
  waiting = have - kept_from;
  return true;
}

PieceDecoder::PieceDecoder(Engine::Impl& engine, const DecodeSettings& settings, const PlacementPlan& plan, NoiseSource& noise,
                           RunContext& run, Consumer consumer)
    : engine_(engine), settings_(settings), plan_(plan), noise_(noise), run_(run), consumer_(std::move(consumer)) {}

void PieceDecoder::push(const at::Tensor& latents, bool last) {
  const auto decoder = engine_.weights.vae_decoder(plan_);
  // Noised when it arrives, so that the context of a piece is the same as the piece itself was.
  const std::string name = indexed_name("decode", push_count_++);
  const auto raw = noised_for_decoder(*decoder, latents, settings_, noise_, name);
  waiting_ = waiting_.defined() ? at::cat({waiting_, raw}, 2) : raw;
  const int64_t have = waiting_.size(2);
  if (!schedule_.push(latents.size(2), last)) return;
  const int64_t context = schedule_.context, end = schedule_.end;

  DecodeOptions options{.timestep = settings_.timestep, .injected_noise = [&](int64_t height, int64_t width) {
                          return noise_.draw(indexed_name("decoder", map_count_++), {height, width});
                        }};
  options.largest_volume = plan_.vae_volume_elements;
  auto frames = decoder->decode_raw(waiting_, options, run_);
  // The first latent frame of a volume gives one frame, every other one `temporal` of them.
  const int64_t t = engine_.spec.vae.compression.temporal;
  const int64_t begin_frame = context == 0 ? 0 : (context - 1) * t + 1, end_frame = (end - 1) * t + 1;
  frames = frames.narrow(2, begin_frame, end_frame - begin_frame);
  waiting_ = waiting_.narrow(2, schedule_.kept_from, have - schedule_.kept_from).contiguous();
  consumer_(frames);
}

}  // namespace ltxv
