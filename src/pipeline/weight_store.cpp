#include "pipeline/weight_store.h"

#include <filesystem>
#include <map>

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

WeightStore::WeightStore(const ModelSpec& spec, FileAccess access) : spec_(spec), access_(access) {
  if (!spec.text_files.path.empty()) sources_[static_cast<int>(Component::text_encoder)] = open_part(spec.text_files.path, access);
  sources_[static_cast<int>(Component::transformer)] = open_part(spec.transformer_files.path, access);
  refuse_other_families(*source(Component::transformer));
  const auto vae = spec.vae_files.path == spec.transformer_files.path ? source(Component::transformer)
                                                                      : open_part(spec.vae_files.path, access);
  sources_[static_cast<int>(Component::vae_encoder)] = vae;
  sources_[static_cast<int>(Component::vae_decoder)] = vae;
  for (const UpsamplerPart& part : spec.upsamplers) upsampler_sources_.push_back(open_part(part.path, access));
  upsamplers_.resize(upsampler_sources_.size());
}

template <class T, class Load>
std::shared_ptr<const T> WeightStore::get(std::shared_ptr<const T>& slot, Component component, ComputeType type, const Load& load) {
  const std::lock_guard lock(mutex_);
  return get_locked(slot, component, type, load);
}

template <class T, class Load>
std::shared_ptr<const T> WeightStore::get_locked(std::shared_ptr<const T>& slot, Component component, ComputeType type,
                                                 const Load& load) {
  if (!slot || loaded_types_[static_cast<int>(component)] != type) {
    slot.reset();
    slot = load(scalar(type));
    loaded_types_[static_cast<int>(component)] = type;
  }
  return slot;
}

std::shared_ptr<const T5Encoder> WeightStore::text_encoder(ComputeType type) {
  LTXV_ASSERT(source(Component::text_encoder), "a model without text parts was asked for its text encoder");
  return get(text_encoder_, Component::text_encoder, type, [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::text_encoder), spec_.text_files.names, dtype, "text encoder");
    return std::make_shared<const T5Encoder>(spec_.text, parameters);
  });
}

std::shared_ptr<const Transformer> WeightStore::transformer(ComputeType type, const std::vector<LoraItem>& loras, WeightOrder order) {
  const auto changes = open_loras(loras);
  // Merged weights are copies, the stored ones stay as they are: another list of LoRAs, or none, is another reading of the file.
  const std::lock_guard lock(mutex_);
  if (transformer_ && loaded_changes_ != changes) transformer_.reset();
  return get_locked(transformer_, Component::transformer, type, [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::transformer), spec_.transformer_files.names, dtype, "transformer", changes);
    auto transformer = std::make_shared<const Transformer>(spec_.transformer, parameters, order);
    loaded_changes_ = changes;
    return transformer;
  });
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

std::shared_ptr<const VideoVae> WeightStore::vae_encoder(ComputeType type) {
  return get(vae_encoder_, Component::vae_encoder, type, [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::vae_encoder), spec_.vae_encoder_names, dtype, "vae");
    return std::make_shared<const VideoVae>(spec_.vae, parameters, VaeParts::encoder);
  });
}

std::shared_ptr<const VideoVae> WeightStore::vae_decoder(ComputeType type) {
  return get(vae_decoder_, Component::vae_decoder, type, [&](at::ScalarType dtype) {
    Parameters parameters(source(Component::vae_decoder), spec_.vae_decoder_names, dtype, "vae");
    return std::make_shared<const VideoVae>(spec_.vae, parameters, VaeParts::decoder);
  });
}

std::shared_ptr<const LatentUpsampler> WeightStore::upsampler(size_t index, ComputeType type) {
  const std::lock_guard lock(mutex_);
  auto& slot = upsamplers_.at(index);
  ComputeType& loaded = loaded_types_[static_cast<int>(Component::upsampler)];
  if (loaded != type) upsamplers_.assign(upsamplers_.size(), nullptr);
  loaded = type;
  if (!slot) {
    Parameters parameters(upsampler_sources_[index], {}, scalar(type), "latent upsampler");
    slot = std::make_shared<const LatentUpsampler>(spec_.upsamplers[index].config, parameters);
  }
  return slot;
}

WeightStore::LatentStatistics WeightStore::latent_statistics() const {
  Parameters parameters(source(Component::vae_decoder), spec_.vae_decoder_names, at::kFloat, "vae");
  const int64_t channels = spec_.vae.latent_channels;
  const auto take = [&](const char* name) { return parameters.take(name, {channels}).view({1, channels, 1, 1, 1}); };
  return {take("per_channel_statistics.mean-of-means"), take("per_channel_statistics.std-of-means")};
}

void WeightStore::stage_done(Component component, const PlacementPlan& plan) {
  if (plan.residency[static_cast<int>(component)] == Residency::resident) return;
  const std::lock_guard lock(mutex_);
  // The file stays mapped. Where another component lies in the same file, what it has loaded comes back as it is read.
  if (source(component))
    for (const TensorEntry& entry : source(component)->entries())
      if (entry.mapped) let_go_of_pages(entry.data, entry.byte_count);
  switch (component) {
    case Component::text_encoder: text_encoder_.reset(); break;
    case Component::transformer: transformer_.reset(); break;
    case Component::vae_encoder: vae_encoder_.reset(); break;
    case Component::vae_decoder: vae_decoder_.reset(); break;
    case Component::upsampler: upsamplers_.assign(upsamplers_.size(), nullptr); break;
  }
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
