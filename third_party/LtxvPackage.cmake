# Install rules: library, headers, find_package and pkg-config files, the bundled model, and cpack -G TGZ.
include(CMakePackageConfigHelpers)

install(TARGETS ltxv EXPORT ltxvTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} NAMELINK_COMPONENT Development)
if(TARGET ltxv_cuda)
  # Opened at run time from the library's own folder; nobody links it.
  install(TARGETS ltxv_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(DIRECTORY include/ltxv DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT ltxvTargets NAMESPACE ltxv:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ltxv)

configure_package_config_file(third_party/ltxvConfig.cmake.in ${PROJECT_BINARY_DIR}/package/ltxvConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ltxv)
# 0.x: a minor release may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/package/ltxvConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/package/ltxvConfig.cmake ${PROJECT_BINARY_DIR}/package/ltxvConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/ltxv)

# Relative to the .pc file, so that a prefix can be moved.
file(RELATIVE_PATH LTXV_PC_UP /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" LTXV_PC_UP "${LTXV_PC_UP}")
configure_file(third_party/ltxv.pc.in ${PROJECT_BINARY_DIR}/package/ltxv.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/package/ltxv.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The library looks for models in ../share/ltxv/models, seen from the folder it lies in.
if(EXISTS ${PROJECT_SOURCE_DIR}/examples/shapes/model/model_index.json)
  install(DIRECTORY examples/shapes/model/ DESTINATION ${CMAKE_INSTALL_DATADIR}/ltxv/models/shapes)
endif()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(CPACK_GENERATOR TGZ)
include(CPack)
