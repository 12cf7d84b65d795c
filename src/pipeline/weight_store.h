#pragma once
// Which weights are in memory: the one part of an engine that changes after it was opened.
#include <array>
#include <memory>
#include <mutex>

#include "pipeline/model_spec.h"
#include "pipeline/placement.h"
#include "pipeline/prediction_graphs.h"
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
  /// `ranks`: where the transformer is, once for each different one; everything else is on the first.
  WeightStore(const ModelSpec& spec, FileAccess access, const std::vector<at::Device>& ranks = {at::kCPU}, const BlockOptions& block_options = {});

  // Each in the type and at the place that the plan says; one that is there in another is read again.
  std::shared_ptr<const T5Encoder> text_encoder(const PlacementPlan& plan);
  /// With these LoRAs merged into its weights. Whether they are packed counts when they are read, not for those that are there.
  /// Errors: as open_loras.
  std::shared_ptr<const Transformer> transformer(const PlacementPlan& plan, const std::vector<LoraItem>& loras = {}, size_t rank = 0);
  std::shared_ptr<const VideoVae> vae_encoder(const PlacementPlan& plan);
  std::shared_ptr<const VideoVae> vae_decoder(const PlacementPlan& plan);
  /// Upsampler `index` of the spec.
  std::shared_ptr<const LatentUpsampler> upsampler(size_t index, const PlacementPlan& plan);

  /// The different ones among the ranks' devices, in their order.
  const std::vector<at::Device>& devices() const { return devices_; }

  /// Recorded predictions of that transformer; they go when it goes.
  std::shared_ptr<PredictionGraphs> graphs_of(const std::shared_ptr<const Transformer>& transformer);

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
  /// What placement asks beside that.
  struct BlockCounts {
    std::array<int64_t, kComponentCount> parameters{}, blocks{};
    std::array<bool, kComponentCount> fp8{};
  };
  const BlockCounts& block_counts() const { return block_counts_; }
  /// How many of the transformer's parameters are kept as codes of a byte.
  int64_t quantised_parameters() const;
  /// Most common stored element type of a component, for descriptions.
  std::string stored_type(Component component) const;

 private:
  const std::shared_ptr<const TensorSource>& source(Component c) const { return sources_[static_cast<int>(c)]; }
  /// How a component was loaded.
  struct Loaded {
    ComputeType type = ComputeType::f32;
    bool takes_turns = false;
    bool operator==(const Loaded&) const = default;
  };
  static Loaded wanted(Component component, const PlacementPlan& plan) {
    return {plan.type(component), plan.stays(component) == Residency::per_block};
  }
  template <class T, class Load>
  std::shared_ptr<const T> get(std::shared_ptr<const T>& slot, Component component, const PlacementPlan& plan, const Load& load);
  template <class T, class Load>
  std::shared_ptr<const T> get_locked(std::shared_ptr<const T>& slot, Component component, const PlacementPlan& plan, const Load& load,
                                      at::Device device);
  void forget_locked(Component component);
  /// On a device that does not hold everything: lets go of what an earlier run, whose plan kept everything, left there.
  void make_room_locked(Component component, const PlacementPlan& plan);
  /// Where a component's weights go; null on the CPU.
  static std::shared_ptr<WeightPlace> place_for(Component component, const PlacementPlan& plan, at::Device device);
  BlockCounts count_blocks() const;

  const ModelSpec& spec_;
  const FileAccess access_;
  std::vector<at::Device> devices_;
  std::vector<size_t> device_of_rank_;  ///< index in devices_
  at::Device device_;                   ///< the first
  const BlockOptions block_options_;
  BlockCounts block_counts_;
  std::array<std::shared_ptr<const TensorSource>, kComponentCount> sources_;
  mutable std::mutex mutex_;
  std::array<Loaded, kComponentCount> loaded_{};
  std::shared_ptr<const T5Encoder> text_encoder_;
  std::vector<std::shared_ptr<const Transformer>> transformers_;  ///< by device
  std::shared_ptr<PredictionGraphs> graphs_;
  std::shared_ptr<const VideoVae> vae_encoder_, vae_decoder_;
  std::shared_ptr<const WeightChanges> loaded_changes_;  // in transformers_
  std::string lora_key_;                                 // what opened_loras_ was made from
  std::shared_ptr<const WeightChanges> opened_loras_;
  std::vector<std::shared_ptr<const TensorSource>> upsampler_sources_;
  std::vector<std::shared_ptr<const LatentUpsampler>> upsamplers_;
};

}  // namespace ltxv
