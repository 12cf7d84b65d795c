#pragma once
// Decodes latents that arrive bit by bit, in pieces of bounded size.
#include <functional>

#include "pipeline/engine_impl.h"

namespace ltxv {

/// Which latents each piece takes: everything but the frames themselves.
struct PieceSchedule {
  int64_t context = 0;  ///< waiting latents that are decoded already
  int64_t waiting = 0;  ///< all of them
  int64_t end = 0;      ///< of the piece, counted in those that waited when it was decoded
  int64_t kept_from = 0;

  /// `count` more arrive. True when a piece is decoded: waiting latents context to `end`; those from kept_from on stay.
  bool push(int64_t count, bool last);
};

/// Every piece is decoded with a few latent frames more on both sides, whose pixels are thrown away: what the decoder sees across
/// the seam is then what it would see in one go, up to the far ends of its reach. Memory depends on the piece, not on the length.
class PieceDecoder {
 public:
  using Consumer = std::function<void(const at::Tensor& frames)>;  ///< f32 [1,3,t,Hp,Wp], in order

  /// Decode noise is drawn as "decode_00", … for what each push() brings.
  PieceDecoder(Engine::Impl& engine, const DecodeSettings& settings, const PlacementPlan& plan, NoiseSource& noise, RunContext& run,
               Consumer consumer);

  /// Takes latents f32 [1,C,t,H,W], normalised, and decodes what has enough of them behind it; with `last`, everything.
  void push(const at::Tensor& latents, bool last);

 private:
  Engine::Impl& engine_;
  DecodeSettings settings_;
  const PlacementPlan& plan_;
  NoiseSource& noise_;
  RunContext& run_;
  Consumer consumer_;
  at::Tensor waiting_;       ///< decoded latents kept as context, then those not decoded yet
  PieceSchedule schedule_;
  int64_t push_count_ = 0, map_count_ = 0;
};

}  // namespace ltxv
