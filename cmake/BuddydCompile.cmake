# The house's compile rules. buddyd_compile_options(TARGET) puts warnings, hardening and sanitizers
# on our own code only: generated code and other people's libraries are not ours to lint.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

set(BUDDYD_WARNINGS -Wall -Wextra -Wconversion -Wshadow -Wundef -Wvla -Wmissing-prototypes
  -Wstrict-prototypes -Wformat=2)

function(buddyd_compile_options target)
  target_compile_options(${target} PRIVATE ${BUDDYD_WARNINGS} -fno-strict-aliasing)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE BUDDYD_VERSION="${PROJECT_VERSION}")
  if(BUDDYD_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(BUDDYD_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${BUDDYD_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${BUDDYD_SANITIZE})
  endif()
endfunction()
