# Imports LibTorch as ltxv_torch without find_package(Torch), which adds GPU architectures that nvcc 13 refuses, demands a CUDA
# toolkit for CPU builds and leaks its flags into exported targets. Set LTXV_TORCH_ROOT to an unpacked libtorch archive or to
# the torch folder of a Python environment; unset, the private environment made by third_party/setup.sh is used.
set(LTXV_TORCH_ROOT "$ENV{LTXV_TORCH_ROOT}" CACHE PATH "LibTorch: an unpacked libtorch, or .../site-packages/torch")
if(NOT LTXV_TORCH_ROOT)
  file(GLOB _ltxv_torch_found "${CMAKE_CURRENT_LIST_DIR}/.venv/lib/python3*/site-packages/torch")
  if(_ltxv_torch_found)
    list(GET _ltxv_torch_found 0 LTXV_TORCH_ROOT)
  endif()
endif()
if(NOT EXISTS "${LTXV_TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "LibTorch not found: LTXV_TORCH_ROOT is '${LTXV_TORCH_ROOT}', expected lib/libtorch_cpu.so inside. "
                      "Run third_party/setup.sh, or pass -DLTXV_TORCH_ROOT=/path/to/libtorch.")
endif()
set(LTXV_TORCH_VERSION "")
foreach(_part MAJOR MINOR PATCH)
  file(STRINGS "${LTXV_TORCH_ROOT}/include/torch/headeronly/version.h" _line REGEX "define TORCH_VERSION_${_part} ")
  string(REGEX MATCH "[0-9]+$" _number "${_line}")
  string(APPEND LTXV_TORCH_VERSION "${_number}.")
endforeach()
string(REGEX REPLACE "\\.$" "" LTXV_TORCH_VERSION "${LTXV_TORCH_VERSION}")
if(NOT LTXV_TORCH_VERSION MATCHES "^2\\.11\\." AND NOT LTXV_ANY_TORCH)
  message(FATAL_ERROR "LibTorch ${LTXV_TORCH_VERSION} found at ${LTXV_TORCH_ROOT}; this release is tested with 2.11. "
                      "Pass -DLTXV_ANY_TORCH=ON to try anyway.")
endif()

add_library(ltxv_torch INTERFACE)
target_include_directories(ltxv_torch SYSTEM INTERFACE "${LTXV_TORCH_ROOT}/include"
                                                       "${LTXV_TORCH_ROOT}/include/torch/csrc/api/include")
target_link_libraries(ltxv_torch INTERFACE "${LTXV_TORCH_ROOT}/lib/libtorch_cpu.so" "${LTXV_TORCH_ROOT}/lib/libc10.so")
# at::parallel_for is a template: without OpenMP in the file that calls it, it runs on one thread and says nothing. The runtime must be
# the one LibTorch itself uses, or the process would have two thread pools.
file(GLOB _ltxv_openmp "${LTXV_TORCH_ROOT}/lib/libgomp*.so*")
if(NOT _ltxv_openmp)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  set(_ltxv_openmp ${OpenMP_CXX_LIBRARIES})
endif()
target_compile_options(ltxv_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_libraries(ltxv_torch INTERFACE ${_ltxv_openmp})
# The static archives that use torch end up in one shared library, which needs its run path once.
set(LTXV_TORCH_LIB_DIR "${LTXV_TORCH_ROOT}/lib")
message(STATUS "libltxv: LibTorch ${LTXV_TORCH_VERSION} at ${LTXV_TORCH_ROOT}")
