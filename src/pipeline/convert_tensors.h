#pragma once
// Which tensors of a part are written, under which names and in which types.
#include <set>

#include "pipeline/doctor_parts.h"
#include "weights/tensor_writer.h"

namespace ltxv {

enum class WrittenDtype { stored, f32, bf16, f16, fp8, q8_0 };
enum class WrittenForm { diffusers, original, gguf };

/// Errors: InvalidArgument listing the names.
WrittenDtype written_dtype(const std::string& name);

/// The tensors of one component of a part (`what`: transformer, vae or text_encoder), named as `form` has them behind `prefix`, in the
/// order of their names. Scales of fp8 are kept, applied or made anew as the types ask for.
/// Errors: InternalError if a name cannot be read back.
std::vector<StreamedTensor> component_tensors(const Part& part, FileKind what, WrittenForm form, WrittenDtype dtype, const std::string& prefix,
                                              const RunContext& run);

}  // namespace ltxv
