#include "daemon/bytes.h"

#include <criterion/criterion.h>
#include <errno.h>

#include "daemon/settings.h"

static uint64_t parsed(const char *text) {
        uint64_t bytes = 77;
        cr_assert_eq(settings_parse_bytes(text, &bytes), 0, "%s", text);
        return bytes;
}

Test(bytes, parses_every_suffix) {
        cr_assert_eq(parsed("0"), 0);
        cr_assert_eq(parsed("4096"), 4096);
        cr_assert_eq(parsed("4K"), 4096);
        cr_assert_eq(parsed("64M"), UINT64_C(64) << 20);
        cr_assert_eq(parsed("1G"), UINT64_C(1) << 30);
        cr_assert_eq(parsed("16T"), UINT64_C(16) << 40);
        cr_assert_eq(parsed("18446744073709551615"), UINT64_MAX);
        cr_assert_eq(parsed("16777215T"), UINT64_C(16777215) << 40);
}

Test(bytes, refuses_what_is_no_number_of_bytes) {
        static const char *const texts[] = {
                "", "K", "-1", "+1", " 1", "1 ", "1KK", "1KB", "1X", "1.5G", "0x10", "k1"};
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                uint64_t bytes = 77;
                cr_expect_eq(settings_parse_bytes(texts[i], &bytes), -EINVAL, "'%s'", texts[i]);
                cr_expect_eq(bytes, 77, "'%s' wrote its output", texts[i]);
        }
}

Test(bytes, refuses_what_does_not_fit_into_64_bits) {
        static const char *const texts[] = {
                "18446744073709551616", "16777216T", "99999999999999999999999", "17179869184G"};
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                uint64_t bytes = 77;
                cr_expect_eq(settings_parse_bytes(texts[i], &bytes), -ERANGE, "'%s'", texts[i]);
                cr_expect_eq(bytes, 77, "'%s' wrote its output", texts[i]);
        }
}

Test(bytes, exact_text_parses_back) {
        static const uint64_t counts[] = {0, 1, 1023, 1024, 4096, 1048580, UINT64_C(3) << 30,
                UINT64_C(5000) << 40, UINT64_MAX, UINT64_C(1) << 63};
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
                struct bytes_text exact = bytes_exact(counts[i]);
                cr_expect_eq(parsed(exact.text), counts[i], "%s", exact.text);
        }
        cr_expect_str_eq(bytes_exact(UINT64_C(64) << 20).text, "64M");
}

Test(bytes, rounded_text_never_promises_too_much) {
        cr_expect_str_eq(bytes_rounded(0).text, "0 bytes");
        cr_expect_str_eq(bytes_rounded(1023).text, "1023 bytes");
        cr_expect_str_eq(bytes_rounded(1024).text, "1 KiB");
        cr_expect_str_eq(bytes_rounded((UINT64_C(1) << 30) - 1).text, "1023.9 MiB");
        cr_expect_str_eq(bytes_rounded(UINT64_C(3) << 29).text, "1.5 GiB");
        cr_expect_str_eq(bytes_rounded(UINT64_MAX).text, "16777215.9 TiB");
}

Test(bytes, whole_text_is_exact_in_the_largest_unit_that_divides) {
        cr_expect_str_eq(bytes_whole(0).text, "0 bytes");
        cr_expect_str_eq(bytes_whole(1023).text, "1023 bytes");
        cr_expect_str_eq(bytes_whole(4096).text, "4 KiB");
        cr_expect_str_eq(bytes_whole(UINT64_C(310) << 20).text, "310 MiB");
        cr_expect_str_eq(bytes_whole((UINT64_C(3) << 30) + 1024).text, "3145729 KiB");
        cr_expect_str_eq(bytes_whole(UINT64_C(1) << 40).text, "1 TiB");
        cr_expect_str_eq(bytes_whole(UINT64_C(1) << 52).text, "4096 TiB");
        cr_expect_str_eq(bytes_whole(UINT64_MAX).text, "18446744073709551615 bytes");
}
