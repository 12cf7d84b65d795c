#include "gelu/gelu.h"

#include <ATen/Parallel.h>

#include "cpu_row_args.h"
#include "registry.h"

namespace ltxv::ops {
namespace {

struct Args {
  at::Tensor& x;
};

bool reference(const Args& a) {
  at::gelu_(a.x, "tanh");
  return true;
}

template <void (*kRun)(const cpu::GeluTanh&, int64_t, int64_t)>
bool elements(const Args& a) {
  const cpu::GeluTanh args{cpu_row_type(a.x), a.x.mutable_data_ptr()};
  constexpr int64_t kGrain = 16384;  // 10 us of work: below that a second thread does not pay
  at::parallel_for(0, a.x.numel(), kGrain, [&](int64_t begin, int64_t end) { kRun(args, begin, end); });
  return true;
}

bool fits(const Args& a) { return fits_rows(a.x); }
bool fits_avx512(const Args& a) { return cpu_features().avx512 && fits(a); }
bool fits_avx2(const Args& a) { return cpu_features().avx2 && fits(a); }
bool always(const Args&) { return true; }

constexpr Variant<Args, bool> kVariants[] = {{"avx512", fits_avx512, elements<cpu::avx512::gelu_tanh>},
                                             {"avx2", fits_avx2, elements<cpu::avx2::gelu_tanh>},
                                             {"reference", always, reference}};

}  // namespace

void gelu_tanh_(at::Tensor& x) {
  LTXV_CHECK(at::isFloatingType(x.scalar_type()), "gelu_tanh: a floating point tensor expected");
  const Args args{x};
  dispatch<Args, bool>("gelu_tanh", kVariants, args);
}

}  // namespace ltxv::ops
