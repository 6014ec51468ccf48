#include "daemon/size_text.h"

#include <criterion/criterion.h>

Test(size_text, is_exact_in_the_largest_unit_that_divides) {
        cr_expect_str_eq(size_text(0).text, "0 bytes");
        cr_expect_str_eq(size_text(1023).text, "1023 bytes");
        cr_expect_str_eq(size_text(4096).text, "4 KiB");
        cr_expect_str_eq(size_text(UINT64_C(310) << 20).text, "310 MiB");
        cr_expect_str_eq(size_text((UINT64_C(3) << 30) + 1024).text, "3145729 KiB");
        cr_expect_str_eq(size_text(UINT64_C(1) << 40).text, "1 TiB");
        cr_expect_str_eq(size_text(UINT64_C(1) << 52).text, "4096 TiB");
        cr_expect_str_eq(size_text(UINT64_MAX).text, "18446744073709551615 bytes");
}
