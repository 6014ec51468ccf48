# The house's compile rules. buddyd_compile_options(TARGET) puts warnings, hardening and sanitizers
# on our own code only: generated code and other people's libraries are not ours to lint.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

set(BUDDYD_WARNINGS -Wall -Wextra -Wconversion -Wshadow -Wundef -Wvla -Wmissing-prototypes
  -Wstrict-prototypes -Wformat=2 -Werror=format-security)
if(CMAKE_C_COMPILER_ID STREQUAL "Clang") # of fields behind the named ones, which are 0; gcc does not mind those
  list(APPEND BUDDYD_WARNINGS -Wno-missing-field-initializers)
endif()

# What Debian's hardening=+all comes to, and the two of its later releases: for builds that are optimised, as
# _FORTIFY_SOURCE needs that, and not for those with sanitizers, which see more. tests/install/hardened.sh reads the result.
set(BUDDYD_HARDENED OFF)
if(CMAKE_BUILD_TYPE MATCHES "^(Release|RelWithDebInfo|MinSizeRel)$" AND NOT BUDDYD_SANITIZE AND NOT BUDDYD_FUZZ)
  set(BUDDYD_HARDENED ON)
endif()
include(CheckCCompilerFlag)
include(CheckPIESupported)
check_pie_supported(LANGUAGES C)
set(BUDDYD_HARDENING -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong)
foreach(flag -fstack-clash-protection -fcf-protection)
  string(MAKE_C_IDENTIFIER "BUDDYD_HAS${flag}" known)
  check_c_compiler_flag(${flag} ${known})
  if(${known})
    list(APPEND BUDDYD_HARDENING ${flag})
  endif()
endforeach()

# One build for both: finding inputs, and measuring how many lines the corpora reach. Asserts hold here, too.
set(BUDDYD_FUZZING -UNDEBUG -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
  -fprofile-instr-generate -fcoverage-mapping)

function(buddyd_compile_options target)
  target_compile_options(${target} PRIVATE ${BUDDYD_WARNINGS} -fno-strict-aliasing)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE BUDDYD_VERSION="${PROJECT_VERSION}")
  if(BUDDYD_FUZZ)
    target_compile_options(${target} PRIVATE ${BUDDYD_FUZZING} -fno-omit-frame-pointer)
    target_link_options(${target} PUBLIC -fsanitize=address,undefined -fprofile-instr-generate)
  endif()
  if(BUDDYD_HARDENED)
    target_compile_options(${target} PRIVATE ${BUDDYD_HARDENING})
    target_link_options(${target} PRIVATE -Wl,-z,relro,-z,now)
  endif()
  if(BUDDYD_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(BUDDYD_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${BUDDYD_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all)
    target_link_options(${target} PUBLIC -fsanitize=${BUDDYD_SANITIZE})
  endif()
endfunction()
