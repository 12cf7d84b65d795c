#pragma once
// Pictures and clips to what the model is shown, by the rules of the code that a result is to be compared with.
#include "base/tensor.h"
#include "media/video_reader.h"
#include "pipeline/request.h"

namespace ltxv {

/// A condition is resized inside the official pipeline, an input video before it.
enum class MediaUse { condition, input_video };

/// The frames of a clip as the official code shows them: cropped to the asked aspect, softened (3x3 Gaussian, sigma 1), each
/// through a video codec (request: image_crf, 0 = not), padded with mid grey to the computed size. A condition is padded in its own
/// size and resized to the computed one afterwards, an input video resized to the asked size before.
/// Shapes: -> f32 [1,3,T,H,W] in [-1,1], the computed size.   Errors: as media::recompress.
/// Source: LTX-Video inference.py, load_image_to_tensor_with_resize_and_crop and load_media_file.
at::Tensor prepare_official(const media::Clip& clip, MediaUse use, const ResolvedRequest& resolved);

/// As diffusers shows them: resized to the asked size without regard to the aspect (Lanczos, 8 bits).
/// Shapes: -> f32 [1,3,T,H,W] in [-1,1], the asked size.   Source: diffusers image_processor.py, VaeImageProcessor.preprocess.
at::Tensor prepare_diffusers(const media::Clip& clip, const ResolvedRequest& resolved);

/// Frames f32 [1,3,T,H,W] of the asked size (or of a media's own, with as much more) with mid grey around them, as much as the
/// computed size is larger than the asked one.
at::Tensor pad_to_computed(const at::Tensor& frames, const ResolvedRequest& resolved);

}  // namespace ltxv
