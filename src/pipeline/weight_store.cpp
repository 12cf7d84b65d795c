#include "pipeline/weight_store.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/transfer.h"
#include "pipeline/spec_files.h"
#include "weights/file_bytes.h"

namespace ltxv {
namespace {

std::shared_ptr<const TensorSource> open_part(const std::string& path, FileAccess access) {
  return std::filesystem::is_directory(path) ? open_component_folder(path, access) : open_tensors(path, access);
}

// Paths, strengths, and what shows that a file is still the same one.
std::string key_of(const std::vector<LoraItem>& loras) {
  std::string key;
  for (const LoraItem& lora : loras) {
    std::error_code ignored;
    key += text(lora.path, '\n', std::hexfloat, lora.strength, ' ', std::filesystem::file_size(lora.path, ignored), ' ',
                std::filesystem::last_write_time(lora.path, ignored).time_since_epoch().count(), '\n');
  }
  return key;
}

at::ScalarType scalar(ComputeType type) { return type == ComputeType::f32 ? at::kFloat : at::kBFloat16; }

}  // namespace

WeightStore::WeightStore(const ModelSpec& spec, FileAccess access, const std::vector<at::Device>& ranks, const BlockOptions& block_options)
    : spec_(spec), access_(access), device_(ranks.front()), block_options_(block_options) {
  for (const at::Device device : ranks) {
    const auto found = std::find(devices_.begin(), devices_.end(), device);
    device_of_rank_.push_back(static_cast<size_t>(found - devices_.begin()));
    if (found == devices_.end()) devices_.push_back(device);
  }
  transformers_.resize(devices_.size());
  if (!spec.text_files.path.empty()) sources_[static_cast<int>(Component::text_encoder)] = open_part(spec.text_files.path, access);
  sources_[static_cast<int>(Component::transformer)] = open_part(spec.transformer_files.path, access);
  refuse_other_families(*source(Component::transformer));
  const auto vae = spec.vae_files.path == spec.transformer_files.path ? source(Component::transformer)
                                                                      : open_part(spec.vae_files.path, access);
  sources_[static_cast<int>(Component::vae_encoder)] = vae;
  sources_[static_cast<int>(Component::vae_decoder)] = vae;
  for (const UpsamplerPart& part : spec.upsamplers) upsampler_sources_.push_back(open_part(part.path, access));
  upsamplers_.resize(upsampler_sources_.size());
  block_counts_ = count_blocks();
}

template <class T, class Load>
std::shared_ptr<const T> WeightStore::get(std::shared_ptr<const T>& slot, Component component, const PlacementPlan& plan, const Load& load) {
  const std::lock_guard lock(mutex_);
  return get_locked(slot, component, plan, load, device_);
}

template <class T, class Load>
std::shared_ptr<const T> WeightStore::get_locked(std::shared_ptr<const T>& slot, Component component, const PlacementPlan& plan,
                                                 const Load& load, at::Device device) {
  make_room_locked(component, plan);
  const Loaded as = wanted(component, plan);
  Loaded& loaded = loaded_[static_cast<int>(component)];
  if (!slot || loaded != as) {
    slot.reset();
    slot = load(scalar(as.type));
    loaded = as;
    wait_for(device);  // other callers use it on streams of their own
  }
  return slot;
}

std::shared_ptr<WeightPlace> WeightStore::place_for(Component component, const PlacementPlan& plan, at::Device device) {
  if (device.is_cpu()) return nullptr;
  if (plan.stays(component) != Residency::per_block) return resident_place(device);
  return turning_place(device, component == Component::transformer && plan.pin_transformer);
}

std::shared_ptr<const T5Encoder> WeightStore::text_encoder(const PlacementPlan& plan) {
  LTXV_ASSERT(source(Component::text_encoder), "a model without text parts was asked for its text encoder");
  return get(text_encoder_, Component::text_encoder, plan, [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::text_encoder), spec_.text_files.names, dtype, "text encoder");
    parameters.send_to(place_for(Component::text_encoder, plan, device_));
    return std::make_shared<const T5Encoder>(spec_.text, parameters);
  });
}

std::shared_ptr<const Transformer> WeightStore::transformer(const PlacementPlan& plan, const std::vector<LoraItem>& loras, size_t rank) {
  const size_t index = device_of_rank_.at(rank);
  const auto changes = open_loras(loras);
  // Merged weights are copies, the stored ones stay as they are: another list of LoRAs, or none, is another reading of the file.
  const std::lock_guard lock(mutex_);
  if (loaded_changes_ != changes || loaded_[static_cast<int>(Component::transformer)] != wanted(Component::transformer, plan))
    forget_locked(Component::transformer);
  const auto load = [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::transformer), spec_.transformer_files.names, dtype, "transformer", changes);
    parameters.send_to(place_for(Component::transformer, plan, devices_[index]));
    auto transformer = std::make_shared<const Transformer>(spec_.transformer, parameters,
                                                           TransformerOptions{plan.pack_transformer ? WeightOrder::packed : WeightOrder::of_file, block_options_});
    loaded_changes_ = changes;
    return transformer;
  };
  return get_locked(transformers_[index], Component::transformer, plan, load, devices_[index]);
}

std::shared_ptr<const WeightChanges> WeightStore::open_loras(const std::vector<LoraItem>& loras) {
  const std::string key = key_of(loras);
  {
    const std::lock_guard lock(mutex_);
    if (key == lora_key_) return opened_loras_;
  }
  std::shared_ptr<const WeightChanges> opened;
  if (!loras.empty()) {
    WeightShapes shapes;
    for (const TensorEntry& entry : source(Component::transformer)->entries())
      if (const auto name = spec_.transformer_files.names.apply(entry.name); !name.empty()) shapes[name] = entry.shape;
    std::vector<LoraUse> uses;
    for (const LoraItem& lora : loras) uses.push_back({lora.path, lora.strength});
    opened = std::make_shared<const WeightChanges>(uses, shapes, diffusers_transformer_spelling(), access_);
    if (opened->size() == 0 && opened->reference_downscale() == 1) opened = nullptr;  // strengths of 0 only
  }
  const std::lock_guard lock(mutex_);
  lora_key_ = key;
  opened_loras_ = opened;
  return opened;
}

std::shared_ptr<const VideoVae> WeightStore::vae_encoder(const PlacementPlan& plan) {
  return get(vae_encoder_, Component::vae_encoder, plan, [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::vae_encoder), spec_.vae_encoder_names, dtype, "vae");
    parameters.send_to(place_for(Component::vae_encoder, plan, device_));
    return std::make_shared<const VideoVae>(spec_.vae, parameters, VaeParts::encoder);
  });
}

std::shared_ptr<const VideoVae> WeightStore::vae_decoder(const PlacementPlan& plan) {
  return get(vae_decoder_, Component::vae_decoder, plan, [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::vae_decoder), spec_.vae_decoder_names, dtype, "vae");
    parameters.send_to(place_for(Component::vae_decoder, plan, device_));
    return std::make_shared<const VideoVae>(spec_.vae, parameters, VaeParts::decoder);
  });
}

std::shared_ptr<const LatentUpsampler> WeightStore::upsampler(size_t index, const PlacementPlan& plan) {
  const std::lock_guard lock(mutex_);
  make_room_locked(Component::upsampler, plan);
  auto& slot = upsamplers_.at(index);
  Loaded& loaded = loaded_[static_cast<int>(Component::upsampler)];
  if (const Loaded as = wanted(Component::upsampler, plan); loaded != as) {
    upsamplers_.assign(upsamplers_.size(), nullptr);
    loaded = as;
  }
  if (!slot) {
    Parameters parameters(upsampler_sources_[index], {}, scalar(loaded.type), "latent upsampler");
    parameters.send_to(place_for(Component::upsampler, plan, device_));
    slot = std::make_shared<const LatentUpsampler>(spec_.upsamplers[index].config, parameters);
    wait_for(device_);
  }
  return slot;
}

std::shared_ptr<PredictionGraphs> WeightStore::graphs_of(const std::shared_ptr<const Transformer>& transformer) {
  const std::lock_guard lock(mutex_);
  if (transformer != transformers_.front()) return nullptr;  // let go of since
  if (!graphs_) graphs_ = std::make_shared<PredictionGraphs>();
  return graphs_;
}

WeightStore::LatentStatistics WeightStore::latent_statistics() const {
  Parameters parameters(source(Component::vae_decoder), spec_.vae_decoder_names, at::kFloat, "vae");
  const int64_t channels = spec_.vae.latent_channels;
  const auto take = [&](const char* name) { return parameters.take(name, {channels}).view({1, channels, 1, 1, 1}); };
  return {take("per_channel_statistics.mean-of-means"), take("per_channel_statistics.std-of-means")};
}

void WeightStore::stage_done(Component component, const PlacementPlan& plan) {
  if (plan.keeps_everything) return;
  const std::lock_guard lock(mutex_);
  // The file stays mapped. Where another component lies in the same file, what it has loaded comes back as it is read.
  if (source(component))
    for (const TensorEntry& entry : source(component)->entries())
      if (entry.mapped) let_go_of_pages(entry.data, entry.byte_count);
  forget_locked(component);
  // Else LibTorch keeps the memory, cut to the sizes of this component's weights.
  for (const at::Device device : devices_)
    if (!device.is_cpu()) release_cached_memory(device);
}

void WeightStore::forget_locked(Component component) {
  switch (component) {
    case Component::text_encoder: text_encoder_.reset(); break;
    case Component::transformer: graphs_.reset(), transformers_.assign(transformers_.size(), nullptr); break;
    case Component::vae_encoder: vae_encoder_.reset(); break;
    case Component::vae_decoder: vae_decoder_.reset(); break;
    case Component::upsampler: upsamplers_.assign(upsamplers_.size(), nullptr); break;
  }
}

void WeightStore::make_room_locked(Component component, const PlacementPlan& plan) {
  if (device_.is_cpu() || plan.keeps_everything) return;
  for (int i = 0; i < kComponentCount; ++i)
    if (static_cast<Component>(i) != component) forget_locked(static_cast<Component>(i));
}

WeightStore::BlockCounts WeightStore::count_blocks() const {
  BlockCounts counts;
  const auto count = [&](Component component, const KeyMap& names, const std::string& prefix, int64_t blocks) {
    if (!source(component)) return;
    int64_t fp8 = 0, all = 0;
    for (const TensorEntry& entry : source(component)->entries()) {
      const std::string name = names.apply(entry.name);
      if (name.empty()) continue;
      int64_t elements = 1;
      for (const int64_t axis : entry.shape) elements *= axis;
      all += elements;
      if (entry.type == StoredType::f8_e4m3 || entry.type == StoredType::f8_e5m2) fp8 += elements;
      if (name.starts_with(prefix)) counts.parameters[static_cast<int>(component)] += elements;
    }
    counts.blocks[static_cast<int>(component)] = blocks;
    counts.fp8[static_cast<int>(component)] = fp8 > all / 2;
  };
  count(Component::text_encoder, spec_.text_files.names, "encoder.block.", spec_.text.layer_count);
  count(Component::transformer, spec_.transformer_files.names, "transformer_blocks.", spec_.transformer.layer_count);
  return counts;
}

std::array<int64_t, kComponentCount> WeightStore::parameter_counts() const {
  std::array<int64_t, kComponentCount> counts{};
  for (int i = 0; i < kComponentCount; ++i) {
    const KeyMap* half = i == static_cast<int>(Component::vae_encoder)   ? &spec_.vae_encoder_names
                         : i == static_cast<int>(Component::vae_decoder) ? &spec_.vae_decoder_names
                                                                         : nullptr;
    if (!sources_[i]) continue;
    if (i == static_cast<int>(Component::transformer)) half = &spec_.transformer_files.names;
    for (const TensorEntry& entry : sources_[i]->entries()) {
      if (half && half->apply(entry.name).empty()) continue;
      int64_t elements = 1;
      for (const int64_t axis : entry.shape) elements *= axis;
      counts[i] += elements;
    }
  }
  for (const auto& file : upsampler_sources_)
    for (const TensorEntry& entry : file->entries()) {
      int64_t elements = 1;
      for (const int64_t axis : entry.shape) elements *= axis;
      counts[static_cast<int>(Component::upsampler)] += elements;
    }
  return counts;
}

int64_t WeightStore::quantised_parameters() const {
  const int64_t layers = spec_.transformer.layer_count, width = spec_.transformer.width();
  // Of a block q, k, v, two output projections and the feed-forward's 8; not of the first and the last (transformer.h).
  return block_options_.quantisation ? std::max<int64_t>(layers - 2, 0) * 13 * width * width : 0;
}

std::string WeightStore::stored_type(Component component) const {
  if (!source(component)) return "";
  std::map<StoredType, uint64_t> bytes;
  for (const TensorEntry& entry : source(component)->entries()) bytes[entry.type] += entry.byte_count;
  StoredType most = StoredType::f32;
  for (const auto& [type, count] : bytes)
    if (count > bytes[most]) most = type;
  return std::string(stored_type_name(most));
}

}  // namespace ltxv
