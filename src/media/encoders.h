#pragma once
// The one table of encoders: which container uses which, in which order, with which settings.
#include <string>

#include "media/container.h"
#include "media/ffmpeg_handles.h"

namespace ltxv::media {

enum class Fidelity { lossy, lossless };

/// The first encoder of the container's list that this FFmpeg has:
///   mp4, mkv   libx264, libopenh264, mpeg4 (hardware encoders are left out: their bytes depend on the device)
///   mkv        ffv1 when lossless
///   webm       libvpx-vp9, libvpx (VP8), libsvtav1, libaom-av1
///   gif, png   gif, png: lossless by nature, the palette of a gif aside
/// `requested`, where not empty, must be in that list.
/// Errors: Unsupported with the list; InvalidArgument for lossless mp4 or webm, or a request outside the list.
std::string choose_encoder(Container container, Fidelity fidelity, const std::string& requested);

/// Sets rate control and everything else that decides the bytes. Call between allocation and avcodec_open2.
/// `quality` is a CRF on x264's scale, 1 (best) … 51; 0 is 18 for H.264, 24 of 63 for VP9, VP8 and AV1, 3 of 31 for
/// mpeg4. Other encoders get the same point of their own scale; libopenh264 has none and gets bits per pixel that halve
/// every 6 steps.
void configure_encoder(AVCodecContext& context, const std::string& encoder, int quality, Dictionary& options);

/// The pixel format the encoder is fed.
AVPixelFormat encoder_pixel_format(const std::string& encoder);

}  // namespace ltxv::media
