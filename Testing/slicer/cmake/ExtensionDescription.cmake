# Slicer writes the description of the extension from these variables, and refuses one without them.
foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${name})
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
endforeach()
# As SlicerExtensionCPack.cmake hands them on: without quotes, so that a semicolon ends a value.
function(write_description)
  cmake_parse_arguments(TOLD "" "HOMEPAGE;CATEGORY;CONTRIBUTORS;DESCRIPTION;ICONURL;SCREENSHOTURLS;DEPENDS;RECOMMENDS" "" ${ARGN})
  foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS RECOMMENDS)
    file(APPEND "${CMAKE_BINARY_DIR}/description.txt" "${name}=${TOLD_${name}}\n")
  endforeach()
endfunction()
write_description(
  HOMEPAGE ${EXTENSION_HOMEPAGE}
  CATEGORY ${EXTENSION_CATEGORY}
  CONTRIBUTORS ${EXTENSION_CONTRIBUTORS}
  DESCRIPTION ${EXTENSION_DESCRIPTION}
  ICONURL ${EXTENSION_ICONURL}
  SCREENSHOTURLS ${EXTENSION_SCREENSHOTURLS}
  DEPENDS ${EXTENSION_DEPENDS}
  RECOMMENDS ${EXTENSION_RECOMMENDS})
