#pragma once
#include <array>

#include "base/tensor.h"
#include "scratch.h"

namespace ltxv::ops {

struct Conv3dArgs {
  const at::Tensor& x;         ///< [B,C,T+2,H,W], frames padded
  const at::Tensor& weight;    ///< [O,C,3,3,3] contiguous; of x's dtype, or bf16 under an f32 x
  const at::Tensor& bias;      ///< [O]
  const at::Tensor& residual;  ///< as the result, or undefined; added to it
  std::array<int64_t, 3> stride = {1, 1, 1};
  bool pad_space = true;       ///< one zero row and column on each side
  bool into_residual = false;  ///< the result may take the residual's memory
};

/// A 3x3x3 convolution plus a residual. In f32 the vector variants use Winograd's F(2x2x2, 3x3x3), 3.4 times fewer products;
/// its rounding is about three times that of the direct sum. Few positions under many weights are one matrix product. The rest,
/// bf16 above all, goes to ATen, whose convolution has matrix units for it.
/// Shapes: -> [B,O,(T-1)/st+1,H/sh,W/sw].
/// Errors: InvalidArgument (shapes).
/// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, section 4.1.
at::Tensor conv3d(const Conv3dArgs& args, Scratch& scratch);
at::Tensor conv3d_reference(const Conv3dArgs& args);

}  // namespace ltxv::ops
