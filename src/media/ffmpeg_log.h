#pragma once
// The library prints nothing, but FFmpeg's log is global to the process and goes to stderr. Changing its level would
// silence the host's own use of FFmpeg too. So the first use of this layer installs one callback for good: it drops
// what is logged by a thread while that thread is inside this layer, and hands everything else to FFmpeg's default.
// Worker threads of codecs are quiet through log_level_offset of their context. A host with a log callback of its own
// installs it after its first call here (ltxv::media::describe() will do); from then on it receives everything, this
// layer's messages included.

namespace ltxv::media {

/// Added to the level (8 … 56) of each message of a codec context: beyond anything FFmpeg prints, within the 8 bits it
/// looks at.
inline constexpr int kSilentLogOffset = 128;

/// Held by every public function of this layer while it calls FFmpeg. Nests.
class QuietScope {
 public:
  QuietScope();
  ~QuietScope();
  QuietScope(const QuietScope&) = delete;
  QuietScope& operator=(const QuietScope&) = delete;
};

}  // namespace ltxv::media
