# Every dependency is found in this file and nowhere else. third_party/setup.sh installs the versions named here.
include(${CMAKE_CURRENT_LIST_DIR}/LtxvTorch.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/LtxvCuda.cmake)                           # nvcc, optional

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)                                  # JSON in files and requests
pkg_check_modules(SENTENCEPIECE QUIET IMPORTED_TARGET sentencepiece)      # T5 tokenizer
if(NOT TARGET PkgConfig::SENTENCEPIECE)
  # Debian 13's description asks for that of protobuf, which its package does not bring; nothing of it is needed to link.
  find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_processor.h REQUIRED)
  find_library(SENTENCEPIECE_LIBRARY sentencepiece REQUIRED)
  add_library(PkgConfig::SENTENCEPIECE INTERFACE IMPORTED)
  target_include_directories(PkgConfig::SENTENCEPIECE INTERFACE ${SENTENCEPIECE_INCLUDE_DIR})
  target_link_libraries(PkgConfig::SENTENCEPIECE INTERFACE ${SENTENCEPIECE_LIBRARY})
  execute_process(COMMAND ${PKG_CONFIG_EXECUTABLE} --modversion sentencepiece OUTPUT_VARIABLE SENTENCEPIECE_VERSION
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
pkg_check_modules(FFMPEG REQUIRED IMPORTED_TARGET                         # FFmpeg 4.4 or newer
                  libavcodec>=58.134 libavformat>=58.76 libavutil>=56.70 libswscale>=5.9)
if(LTXV_BUILD_EXAMPLES)
  find_package(CLI11 REQUIRED)                                            # command line of `ltxv`
endif()
if(LTXV_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
