/* What the fuzz targets share: a check that also holds in a release build. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define fuzz_require(condition)                                                                    \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        abort();                                                                   \
        } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);
