#pragma once
// Between media files and frame tensors, f32 [1,3,T,H,W] in [-1,1].
#include "base/tensor.h"
#include "pipeline/request.h"

namespace ltxv {

/// The frames of one condition at the computed size: prepared as the request says, padded with mid grey where the computed shape is
/// larger, and cut to 8k+1 frames that fit the video.
/// Errors: IoError, InvalidArgument naming the file. Source: LTX-Video inference.py, load_media_file and trim_conditioning_sequence.
at::Tensor read_condition(const ConditionItem& item, const ResolvedRequest& resolved, const Compression& compression);

/// The frames of an input video, prepared likewise, all that the computed shape has: what the asked length lacks to 8k+1 repeats the
/// last frame.   Errors: as above; InvalidArgument for a clip shorter than asked.
at::Tensor read_input_frames(const std::string& path, const ResolvedRequest& resolved);

/// The frames of a control clip, prepared as a condition: all of this pass, or a single picture. Errors: as above.
at::Tensor read_control_frames(const std::string& path, const ResolvedRequest& resolved);

/// The frames of an input video without the preparation of ImagePrep, for compositing. Errors: as above.
at::Tensor read_original_frames(const std::string& path, const ResolvedRequest& resolved);

/// Where the mask is black the original's pixels, where it is white those of `frames`, in between a mix of both.
/// Shapes: frames, original f32 [1,3,T,H,W]; mask f32 [1,1,T,H,W].
at::Tensor composite(const at::Tensor& frames, const at::Tensor& original, const at::Tensor& mask);

/// A mask over the computed shape, 1 = generate: the brightness of an image (for all frames) or clip, cropped and resized like an
/// input video; within 5 % of black or white it is black or white. The padding is kept.
/// Shapes: f32 [1,1,T,H,W] in [0,1].   Errors: IoError, BadWeights; InvalidArgument for too few frames or a mask without white.
at::Tensor read_mask(const std::string& path, const ResolvedRequest& resolved);

/// An input video scaled to lie inside the computed shape, and the mask of what it does not cover in space and time.
struct FittedVideo {
  at::Tensor frames;  ///< f32 [1,3,T,H,W]
  at::Tensor mask;    ///< f32 [1,1,T,H,W]
};
/// Errors: as above; InvalidArgument when the clip covers everything.
FittedVideo read_fitted_inside(const std::string& path, const ResolvedRequest& resolved);

/// The middle of every frame of the padded size.
at::Tensor crop_picture(const at::Tensor& frames, const ResolvedRequest& resolved);
/// The asked part of the last pass's frames: the first frames, and the middle of the picture; frames of another size than the padded
/// one are clamped and resized to it first.
at::Tensor crop_to_asked(const at::Tensor& frames, const ResolvedRequest& resolved);

}  // namespace ltxv
