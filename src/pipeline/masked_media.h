#pragma once
// Which parts of an input video a run keeps: masks, outpainting, and the pixels that compositing copies.
#include "base/tensor.h"
#include "pipeline/media_frames.h"

namespace ltxv {

/// Where the mask is black the original's pixels, where it is white those of `frames`, in between a mix of both.
/// Shapes: frames, original f32 [1,3,T,H,W]; mask f32 [1,1,T,H,W].
at::Tensor composite(const at::Tensor& frames, const at::Tensor& original, const at::Tensor& mask);

/// A mask over the padded size for a part of the result, 1 = generate: the brightness of an image (for all frames) or clip, cropped and
/// resized like an input video; within 5 % of black or white it is black or white. The padding is kept.
/// Shapes: f32 [1,1,T,H,W] in [0,1].   Errors: IoError, BadWeights; InvalidArgument for too few frames, as far as the part shows it.
at::Tensor read_mask(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range);
/// Errors: InvalidArgument for a mask without white in any frame that is asked for, or with too few frames.
void check_mask_file(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved);

/// An input video scaled to lie inside the padded shape, and the mask of what it does not cover in space and time.
struct FittedVideo {
  at::Tensor frames;  ///< f32 [1,3,T,H,W]
  at::Tensor mask;    ///< f32 [1,1,T,H,W]
};
/// Of a part of the result.   Errors: as above; InvalidArgument when the clip covers everything.
FittedVideo read_fitted_inside(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range);

/// Which frames of the result the frames of a part of a pass stand for: a pass at a lower rate has several a frame.
FrameRange result_frames(const FrameRange& range, int64_t frame_step);
/// A mask over result_frames(range) and the padded size -> over the part itself and the size of the pass. A place is generated as far as
/// any pixel and frame that it stands for.   Shapes: f32 [1,1,T,H,W] both.
at::Tensor mask_for_pass(const at::Tensor& mask, const FrameRange& range, const ResolvedRequest& resolved);
/// Frames of the padded size and the result's rate -> those of the pass, for a part of it: result frames first * frame_step on.
at::Tensor frames_for_pass(const at::Tensor& frames, const ResolvedRequest& resolved);

/// True where a run keeps parts of its input video.
bool keeps_parts(const Request& request);
/// The mask of such a run for a part of a pass, at the pass's size. Shapes, errors: as read_mask; read_fitted_inside.
at::Tensor read_pass_mask(MediaFiles& files, const ResolvedRequest& resolved, const FrameRange& range);
/// The frames of the input video for a part of a pass, at its size, outpainted borders included. Errors: as read_input_frames.
at::Tensor read_pass_frames(MediaFiles& files, const ResolvedRequest& resolved, const FrameRange& range);
/// What compositing copies for a part of the result, at the padded size. Errors: as above.
FittedVideo read_kept_pixels(MediaFiles& files, const ResolvedRequest& resolved, const FrameRange& range);

}  // namespace ltxv
