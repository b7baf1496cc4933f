# Slicer writes the description of the extension from these variables, and refuses one without them.
foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${name})
    message(FATAL_ERROR "EXTENSION_${name} is not set")
  endif()
  file(APPEND "${CMAKE_BINARY_DIR}/description.txt" "${name}=${EXTENSION_${name}}\n")
endforeach()
