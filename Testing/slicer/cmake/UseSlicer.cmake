# The two macros that an extension of scripts calls: files are copied into the build tree in the layout in which they
# are installed. Byte-compiling, translations and generic tests of the real macros are left out; arguments are checked.

macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(SCRIPTED "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(SCRIPTED_UNPARSED_ARGUMENTS OR NOT SCRIPTED_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: expected NAME and known keywords; got ${ARGN}")
  endif()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${SCRIPTED_NAME}
    SCRIPTS "${SCRIPTED_SCRIPTS}"
    RESOURCES "${SCRIPTED_RESOURCES}"
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endmacro()

macro(ctkMacroCompilePythonScript)
  cmake_parse_arguments(COPY "NO_INSTALL_SUBDIR;GLOBAL_TARGET" "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR"
    "SCRIPTS;RESOURCES" ${ARGN})
  foreach(required TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT COPY_${required})
      message(FATAL_ERROR "ctkMacroCompilePythonScript: ${required} is mandatory")
    endif()
  endforeach()
  if(NOT COPY_SOURCE_DIR)
    set(COPY_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  set(copied)
  foreach(file ${COPY_SCRIPTS} ${COPY_RESOURCES})
    if(IS_ABSOLUTE "${file}" OR file MATCHES "\\.\\." OR NOT EXISTS "${COPY_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "ctkMacroCompilePythonScript: expected files below ${COPY_SOURCE_DIR}; got ${file}")
    endif()
    add_custom_command(OUTPUT "${COPY_DESTINATION_DIR}/${file}" DEPENDS "${COPY_SOURCE_DIR}/${file}"
      COMMAND ${CMAKE_COMMAND} -E copy "${COPY_SOURCE_DIR}/${file}" "${COPY_DESTINATION_DIR}/${file}")
    list(APPEND copied "${COPY_DESTINATION_DIR}/${file}")
  endforeach()
  add_custom_target(Copy${COPY_TARGET_NAME} ALL DEPENDS ${copied})
  install(DIRECTORY "${COPY_DESTINATION_DIR}/" DESTINATION "${COPY_INSTALL_DIR}")
endmacro()

function(slicer_add_python_unittest)
  cmake_parse_arguments(UNITTEST "" "SCRIPT" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${UNITTEST_SCRIPT}")
    message(FATAL_ERROR "slicer_add_python_unittest: no ${UNITTEST_SCRIPT}")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/unittests.txt" "${UNITTEST_SCRIPT}\n")
endfunction()
