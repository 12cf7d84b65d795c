#pragma once
// The error of each op against f64, case by case.
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/tensor.h"

namespace ltxv::test {

/// Largest error of the variant that runs, by case name; "f32 ..." or "bf16 ...". A case that the pinned variant
/// refuses is left out.
using Errors = std::map<std::string, double>;
using Measure = Errors (*)();

/// errors[name] = error(), unless the pinned variant refuses the case; variants_test.cpp asks for at least one that it takes.
template <class Error>
void add_case(Errors& errors, const std::string& name, const Error& error) {
  try {
    errors[name] = error();
  } catch (const InvalidArgument& refusal) {
    errors.erase(name);
    if (std::string(refusal.what()).find("cannot run these arguments") == std::string::npos) throw;
  }
}

/// One measure for each op of the registry.
const std::map<std::string_view, Measure>& measures();

Errors row_op_errors(std::string_view op);  // measures_rows.cpp
Errors vae_norm_errors();                   // measures_vae.cpp
Errors depth_to_space_errors();
Errors conv3d_errors();
Errors quantise_rows_errors();  // measures_quant.cpp
Errors norm_quantise_errors();
Errors quant_linear_errors();
Errors attention_int8_errors();

}  // namespace ltxv::test
