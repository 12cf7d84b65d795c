#pragma once
// Between media files and frame tensors, f32 [1,3,T,H,W] in [-1,1]. `files` holds what is open of a run; parts are best read forwards.
#include "base/tensor.h"
#include "pipeline/media_frames.h"

namespace ltxv {

/// The frames of one condition at the computed size: prepared as the request says, padded with mid grey where the computed shape is
/// larger, and cut to 8k+1 frames that fit the video.
/// Errors: IoError, InvalidArgument naming the file. Source: LTX-Video inference.py, load_media_file and trim_conditioning_sequence.
at::Tensor read_condition(MediaFiles& files, const ConditionItem& item, const ResolvedRequest& resolved, const Compression& compression);

/// The frames of an input video, prepared likewise, for a part of the pass: what the asked length lacks to 8k+1 repeats the last
/// frame.   Errors: as above; InvalidArgument for a clip that is shorter than asked, as far as the part shows it.
at::Tensor read_input_frames(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range);

/// The frames of a control clip, prepared as a condition: a part of this pass, or a single picture. Errors: as above.
at::Tensor read_control_frames(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range);

/// The frames of an input video without the preparation of ImagePrep, of the padded size, for compositing: a part of the result.
/// Errors: as above.
at::Tensor read_original_frames(MediaFiles& files, const std::string& path, const ResolvedRequest& resolved, const FrameRange& range);

/// The middle of every frame of the padded size.
at::Tensor crop_picture(const at::Tensor& frames, const ResolvedRequest& resolved);
/// Frames of the last pass at the padded size: those of another size are clamped and resized to it.
at::Tensor resize_to_padded(const at::Tensor& frames, const ResolvedRequest& resolved);

}  // namespace ltxv
