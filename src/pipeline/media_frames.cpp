#include "pipeline/media_frames.h"

#include <algorithm>
#include <cmath>

#include "pipeline/engine.h"
#include "weights/file_bytes.h"
#include "weights/tensor_io.h"

namespace ltxv {
namespace {

// u8 [T,H,W,3] -> f32 [1,3,T,H,W] in [-1,1]
at::Tensor to_frames(const media::Clip& clip) {
  const auto rgb = at::from_blob(const_cast<uint8_t*>(clip.rgb.data()), {clip.frames, clip.height, clip.width, 3}, at::kByte);
  return (rgb.permute({3, 0, 1, 2}).unsqueeze(0).to(at::kFloat) / 127.5 - 1.0).contiguous();
}

// The middle of the picture with the aspect of `height` x `width`, as large as it can be.
at::Tensor crop_to_aspect(const at::Tensor& frames, int64_t height, int64_t width) {
  const int64_t have_height = frames.size(3), have_width = frames.size(4);
  const double aspect = static_cast<double>(width) / static_cast<double>(height);
  const int64_t new_width = std::min(have_width, std::max<int64_t>(1, std::llround(static_cast<double>(have_height) * aspect)));
  const int64_t new_height = std::min(have_height, std::max<int64_t>(1, std::llround(static_cast<double>(have_width) / aspect)));
  return frames.narrow(3, (have_height - new_height) / 2, new_height).narrow(4, (have_width - new_width) / 2, new_width);
}

// Whether no element is NaN or Inf, looked up in pieces that do not stay in memory.
bool holds_numbers(const TensorEntry& entry) {
  constexpr uint64_t kPiece = 64 << 20;  // a multiple of every element's size
  for (uint64_t at = 0; at < entry.byte_count; at += kPiece) {
    TensorEntry piece = entry;
    piece.data += at;
    piece.byte_count = std::min(kPiece, entry.byte_count - at);
    if (has_nan_or_inf(piece)) return false;
    if (piece.mapped) let_go_of_pages(piece.data, piece.byte_count);
  }
  return true;
}

}  // namespace

bool is_tensor_file(const std::string& path) { return path.ends_with(".safetensors"); }

at::Tensor part_of(const at::Tensor& frames, const FrameRange& range) {
  const int64_t first = std::min(range.first, frames.size(2) - 1), left = frames.size(2) - first;
  return frames.narrow(2, first, range.count > 0 ? std::min(range.count, left) : left);
}

at::Tensor fill_up(const at::Tensor& frames, int64_t count) {
  const int64_t missing = count - frames.size(2);
  if (missing <= 0) return frames.narrow(2, 0, count).contiguous();
  auto shape = frames.sizes().vec();
  shape[2] = missing;
  return at::cat({frames, frames.narrow(2, frames.size(2) - 1, 1).expand(shape)}, 2);
}

at::Tensor resize(const at::Tensor& frames, int64_t height, int64_t width) {
  if (frames.size(3) == height && frames.size(4) == width) return frames.contiguous();
  // [1,3,T,H,W] -> [T,3,H,W]
  const auto pictures = frames[0].transpose(0, 1).contiguous();
  return at::_upsample_bilinear2d_aa(pictures, {height, width}, /*align_corners=*/false).transpose(0, 1).unsqueeze(0).contiguous();
}

at::Tensor resize_plain(const at::Tensor& frames, int64_t height, int64_t width) {
  if (frames.size(3) == height && frames.size(4) == width) return frames;
  const auto pictures = frames[0].transpose(0, 1).contiguous();
  return at::upsample_bilinear2d(pictures, {height, width}, /*align_corners=*/false).transpose(0, 1).unsqueeze(0).contiguous();
}

at::Tensor fitted(const at::Tensor& frames, const PixelShape& fit) {
  return resize(crop_to_aspect(frames, fit.height, fit.width), fit.height, fit.width);
}

MediaFile::MediaFile(std::string path) : path_(std::move(path)) {}

media::Clip MediaFile::clip(const FrameRange& range) {
  if (!reader_) reader_ = std::make_unique<media::ClipReader>(path_);
  return reader_->read(range.first, range.count);
}

at::Tensor MediaFile::frames(const FrameRange& range, double* frames_per_second) {
  if (frames_per_second) *frames_per_second = 0;
  if (is_tensor_file(path_)) return tensor("frames", 3, range);
  const auto part = clip(range);
  if (frames_per_second) *frames_per_second = part.frames_per_second;
  return to_frames(part);
}

int64_t MediaFile::count_frames() {
  if (is_tensor_file(path_)) return tensor("frames", 3, {0, 1}), find_tensor("frames")->shape[2];
  if (!reader_) reader_ = std::make_unique<media::ClipReader>(path_);
  return reader_->count_frames();
}

const TensorEntry* MediaFile::find_tensor(const std::string& name) {
  if (!is_tensor_file(path_)) return nullptr;
  // Mapped, since frames as tensors are large. Programs that write such files replace them, which leaves the old one in place.
  if (!source_) source_ = open_tensors(path_, FileAccess::map);
  return source_->find(name);
}

at::Tensor MediaFile::tensor(const std::string& name, int64_t channels, const FrameRange& range) {
  const TensorEntry* entry = find_tensor(name);
  LTXV_REQUIRE(BadWeights, entry != nullptr, path_, ": tensor \"", name, "\" is missing");
  const at::IntArrayRef shape(entry->shape);
  LTXV_REQUIRE(BadWeights, shape.size() == 5 && shape[0] == 1 && shape[1] == channels && c10::multiply_integers(shape) > 0 && !is_block_type(entry->type),
               path_, ": tensor \"", name, "\" is ", shape, ", expected [1,", channels, ",T,H,W]");
  if (sound_ != name) {
    LTXV_REQUIRE(NumericError, holds_numbers(*entry), path_, ": tensor \"", name, "\" holds NaN or Inf");
    sound_ = name;
  }
  const auto part = part_of(to_tensor(*entry, source_), range).to(at::kFloat, /*non_blocking=*/false, /*copy=*/true).contiguous();
  if (entry->mapped) let_go_of_pages(entry->data, entry->byte_count);
  return part;
}

MediaFile& MediaFiles::operator[](const std::string& path) { return files_.try_emplace(path, path).first->second; }

at::Tensor read_frames(const std::string& path, const PixelShape* fit, double* frames_per_second) {
  const auto frames = MediaFile(path).frames({}, frames_per_second);
  return fit ? fitted(frames, *fit) : frames;
}

bool other_size(const ResolvedRequest& resolved) {
  return resolved.computed.height != resolved.padded.height || resolved.computed.width != resolved.padded.width;
}

}  // namespace ltxv
