#pragma once
#include <ATen/Context.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

namespace ltxv::ops {

/// An operator of LibTorch's own prepacked layers, which have no header. None where LibTorch is built without oneDNN.
inline std::optional<c10::OperatorHandle> onednn_operator(const char* name) {
  if (!at::globalContext().userEnabledMkldnn()) return std::nullopt;
  return c10::Dispatcher::singleton().findSchema({name, ""});
}

}  // namespace ltxv::ops
