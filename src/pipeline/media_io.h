#pragma once
// Between media files and frame tensors, f32 [1,3,T,H,W] in [-1,1].
#include "base/tensor.h"
#include "pipeline/request.h"

namespace ltxv {

/// The frames of one condition at the computed size: cropped to the asked aspect, resized, padded with mid grey where the computed
/// shape is larger, and cut to 8k+1 frames that fit the video.
/// Errors: IoError, InvalidArgument naming the file. Source: LTX-Video inference.py, load_media_file and trim_conditioning_sequence.
at::Tensor read_condition(const ConditionItem& item, const ResolvedRequest& resolved, const Compression& compression);

/// The asked part of computed frames: the first frames, and the middle of the picture.
at::Tensor crop_to_asked(const at::Tensor& frames, const ResolvedRequest& resolved);

}  // namespace ltxv
