#pragma once
// What the opaque handles of include/ltxv/ltxv.h hold.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/guard.h"
#include "base/run_context.h"
#include "base/tensor.h"
#include "pipeline/engine.h"

struct ltxv_cancel {
  std::shared_ptr<ltxv::CancelToken> token;
};

struct ltxv_text {
  std::string value;
};

/// Every tensor is contiguous and in host memory.
struct ltxv_tensors {
  std::map<std::string, at::Tensor> by_name;
};

struct ltxv_engine {
  std::shared_ptr<ltxv::Engine> engine;
  std::string description;
};

struct ltxv_video {
  at::Tensor frames;        ///< f32 [1,3,T,H,W] before clamping, contiguous
  at::Tensor latents = {};  ///< undefined where the clip was not generated
  double frames_per_second = 0;
  std::string metadata_json = {};
  int64_t next_frame = 0;
  std::vector<uint8_t> picture = {};  ///< the frame handed out last, RGB24
};

namespace ltxv::api {

/// The four callback fields that several option structs share. The cancel token is kept alive by the hooks.
template <class Options>
RunHooks run_hooks(const Options& options) {
  RunHooks hooks;
  if (options.on_progress != nullptr) {
    hooks.on_progress = [call = options.on_progress, user = options.user_data](const Progress& p) {
      const ltxv_progress progress{sizeof(ltxv_progress), static_cast<int32_t>(p.stage), static_cast<int32_t>(p.step),
                                   static_cast<int32_t>(p.step_count), p.elapsed_seconds};
      return call(&progress, user) == 0;
    };
  }
  if (options.on_log != nullptr) {
    hooks.on_log = [call = options.on_log, user = options.user_data](LogLevel level, const std::string& message) {
      call(static_cast<int32_t>(level), message.c_str(), user);
    };
  }
  if (options.cancel != nullptr) hooks.cancel = options.cancel->token;
  return hooks;
}

/// Frames as every entry point takes them: f32 [1,3,T,H,W]. Errors: InvalidArgument.
at::Tensor checked_frames(const ltxv_tensors* tensors);
/// Tensor of a set. Errors: InvalidArgument listing the names there are.
const at::Tensor& find_tensor(const ltxv_tensors& tensors, const std::string& name);

}  // namespace ltxv::api
