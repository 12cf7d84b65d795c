#include "pipeline/image_prep.h"

#include "media/resample.h"
#include "media/still_codec.h"

namespace ltxv {
namespace {

struct Picture {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;
};

// u8 [H,W,3] -> f32 [1,3,H,W] in [0,1]
at::Tensor to_unit(const Picture& p) {
  const auto rgb = at::from_blob(const_cast<uint8_t*>(p.rgb.data()), {1, p.height, p.width, 3}, at::kByte);
  return (rgb.permute({0, 3, 1, 2}).to(at::kFloat) / 255.0).contiguous();
}

// f32 [1,3,H,W] in [0,1] -> u8, cut off as the reference does; odd sizes lose their last row or column.
Picture to_even_bytes(const at::Tensor& unit) {
  const int64_t height = unit.size(2) / 2 * 2, width = unit.size(3) / 2 * 2;
  const auto bytes = (unit.narrow(2, 0, height).narrow(3, 0, width) * 255.0).to(at::kByte)[0].permute({1, 2, 0}).contiguous();
  const auto* data = bytes.const_data_ptr<uint8_t>();
  return {height, width, {data, data + bytes.numel()}};
}

Picture crop(const uint8_t* rgb, int64_t height, int64_t width, double aspect) {
  // Cut off, not rounded, as the reference does.
  const bool wide = static_cast<double>(width) / static_cast<double>(height) > aspect;
  const auto part = [](double size) { return std::max<int64_t>(static_cast<int64_t>(size), 1); };
  const int64_t new_width = wide ? part(static_cast<double>(height) * aspect) : width;
  const int64_t new_height = wide ? height : part(static_cast<double>(width) / aspect);
  const int64_t top = (height - new_height) / 2, left = (width - new_width) / 2;
  Picture out{new_height, new_width, {}};
  for (int64_t y = 0; y < new_height; ++y) {
    const uint8_t* row = rgb + ((top + y) * width + left) * 3;
    out.rgb.insert(out.rgb.end(), row, row + new_width * 3);
  }
  return out;
}

// 3x3 Gaussian of sigma 1 with mirrored borders, on [1,3,H,W]. Source: torchvision transforms, gaussian_blur.
at::Tensor soften(const at::Tensor& unit) {
  if (unit.size(2) < 2 || unit.size(3) < 2) return unit;  // nothing to mirror
  const auto at_distance = at::exp(at::tensor({-0.5f, 0.0f, -0.5f}));
  const auto line = at_distance / at_distance.sum();
  const auto kernel = (line.unsqueeze(1) * line.unsqueeze(0)).expand({3, 1, 3, 3}).contiguous();
  return at::conv2d(at::reflection_pad2d(unit, {1, 1, 1, 1}), kernel, {}, {1, 1}, at::IntArrayRef{0, 0}, {1, 1}, 3);
}

}  // namespace

at::Tensor pad_to_computed(const at::Tensor& frames, const ResolvedRequest& resolved) {
  const int64_t rows = resolved.padded.height - resolved.asked.height, columns = resolved.padded.width - resolved.asked.width;
  if (rows == 0 && columns == 0) return frames.contiguous();
  return at::constant_pad_nd(frames, {columns / 2, columns - columns / 2, rows / 2, rows - rows / 2}, 0).contiguous();
}

at::Tensor prepare_official(const media::Clip& clip, MediaUse use, const ResolvedRequest& resolved) {
  const PixelShape& asked = resolved.asked;
  const double aspect = static_cast<double>(asked.width) / static_cast<double>(asked.height);
  const auto crf = static_cast<int>(*resolved.request.image_crf);
  std::vector<at::Tensor> pictures;
  for (int64_t t = 0; t < clip.frames; ++t) {
    Picture p = crop(clip.rgb.data() + t * clip.height * clip.width * 3, clip.height, clip.width, aspect);
    if (use == MediaUse::input_video) {
      p.rgb = media::resample(p.rgb.data(), p.height, p.width, asked.height, asked.width, media::Filter::bicubic);
      p.height = asked.height, p.width = asked.width;
    }
    auto unit = soften(to_unit(p));
    if (crf > 0) {
      p = to_even_bytes(unit);
      p.rgb = media::recompress(p.rgb.data(), p.height, p.width, crf);
      unit = to_unit(p);
    }
    pictures.push_back(unit);
  }
  auto frames = at::cat(pictures) * 255.0 / 127.5 - 1.0;  // [T,3,H,W]
  frames = pad_to_computed(frames.transpose(0, 1).unsqueeze(0), resolved);
  if (frames.size(3) == resolved.padded.height && frames.size(4) == resolved.padded.width) return frames;
  const auto resized = at::upsample_bilinear2d(frames[0].transpose(0, 1).contiguous(), {resolved.padded.height, resolved.padded.width},
                                               /*align_corners=*/false);
  return resized.transpose(0, 1).unsqueeze(0).contiguous();
}

at::Tensor prepare_diffusers(const media::Clip& clip, const ResolvedRequest& resolved) {
  const PixelShape& asked = resolved.asked;
  std::vector<at::Tensor> pictures;
  for (int64_t t = 0; t < clip.frames; ++t) {
    const uint8_t* rgb = clip.rgb.data() + t * clip.height * clip.width * 3;
    pictures.push_back(to_unit({asked.height, asked.width,
                                media::resample(rgb, clip.height, clip.width, asked.height, asked.width, media::Filter::lanczos)}));
  }
  return (at::cat(pictures) * 2.0 - 1.0).transpose(0, 1).unsqueeze(0).contiguous();
}

}  // namespace ltxv
