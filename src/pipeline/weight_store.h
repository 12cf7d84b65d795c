#pragma once
// Which weights are in memory: the one part of an engine that changes after it was opened.
#include <array>
#include <memory>
#include <mutex>

#include "pipeline/model_spec.h"
#include "pipeline/placement.h"
#include "pipeline/request.h"
#include "text/t5_encoder.h"
#include "transformer/transformer.h"
#include "upscale/latent_upsampler.h"
#include "vae/video_vae.h"
#include "weights/tensor_source.h"
#include "weights/weight_changes.h"

namespace ltxv {

/// Safe to use from several threads. A component handed out stays valid while the caller holds it, also after a release.
class WeightStore {
 public:
  /// Opens the files of every component: headers only. Errors: IoError, BadWeights, Unsupported.
  WeightStore(const ModelSpec& spec, FileAccess access);

  std::shared_ptr<const T5Encoder> text_encoder(ComputeType type);
  /// With these LoRAs merged into its weights. `order` counts when they are read, not for those that are there.
  /// Errors: as open_loras.
  std::shared_ptr<const Transformer> transformer(ComputeType type, const std::vector<LoraItem>& loras = {},
                                                 WeightOrder order = WeightOrder::of_file);
  std::shared_ptr<const VideoVae> vae_encoder(ComputeType type);
  std::shared_ptr<const VideoVae> vae_decoder(ComputeType type);
  /// Upsampler `index` of the spec.
  std::shared_ptr<const LatentUpsampler> upsampler(size_t index, ComputeType type);

  /// The VAE's mean and deviation of raw latents, f32 [1,C,1,1,1] each, without loading the rest of it.
  struct LatentStatistics {
    at::Tensor mean, deviation;
  };
  LatentStatistics latent_statistics() const;

  /// Opens LoRA files for the transformer and checks every tensor of them; nothing is merged yet. Null for an empty list. The same
  /// files give the same object again until another list is asked for.   Errors: as WeightChanges.
  std::shared_ptr<const WeightChanges> open_loras(const std::vector<LoraItem>& loras);

  /// Lets go of a component after its stage, where the plan says so.
  void stage_done(Component component, const PlacementPlan& plan);

  std::array<int64_t, kComponentCount> parameter_counts() const;
  /// Most common stored element type of a component, for descriptions.
  std::string stored_type(Component component) const;

 private:
  const std::shared_ptr<const TensorSource>& source(Component c) const { return sources_[static_cast<int>(c)]; }
  template <class T, class Load>
  std::shared_ptr<const T> get(std::shared_ptr<const T>& slot, Component component, ComputeType type, const Load& load);
  template <class T, class Load>
  std::shared_ptr<const T> get_locked(std::shared_ptr<const T>& slot, Component component, ComputeType type, const Load& load);

  const ModelSpec& spec_;
  const FileAccess access_;
  std::array<std::shared_ptr<const TensorSource>, kComponentCount> sources_;
  mutable std::mutex mutex_;
  std::array<ComputeType, kComponentCount> loaded_types_{};
  std::shared_ptr<const T5Encoder> text_encoder_;
  std::shared_ptr<const Transformer> transformer_;
  std::shared_ptr<const VideoVae> vae_encoder_, vae_decoder_;
  std::shared_ptr<const WeightChanges> loaded_changes_;  // in transformer_
  std::string lora_key_;                                 // what opened_loras_ was made from
  std::shared_ptr<const WeightChanges> opened_loras_;
  std::vector<std::shared_ptr<const TensorSource>> upsampler_sources_;
  std::vector<std::shared_ptr<const LatentUpsampler>> upsamplers_;
};

}  // namespace ltxv
