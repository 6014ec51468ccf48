/* Numbers as people write and read them. */
#include <criterion/criterion.h>
#include <errno.h>

#include "client/ctl/quantity.h"

Test(ctl_quantity, parses_bytes) {
        static const struct {
                const char *text;
                uint64_t bytes;
        } right[] = {
                {"0", 0},
                {"1", 1},
                {"010", 10},
                {"4096", 4096},
                {"4k", 4096},
                {"4K", 4096},
                {"2M", 2 << 20},
                {"1g", 1 << 30},
                {"3T", UINT64_C(3) << 40},
                {"0x1000", 0x1000},
                {"0XfF", 255},
                {"0x10K", 16384},
                {"18446744073709551615", UINT64_MAX},
                {"0xffffffffffffffff", UINT64_MAX},
                {"16777215T", UINT64_C(16777215) << 40},
        };
        for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
                uint64_t bytes = 7;
                cr_expect_eq(quantity_parse_bytes(right[i].text, &bytes), 0, "%s", right[i].text);
                cr_expect_eq(bytes, right[i].bytes, "%s", right[i].text);
        }
}

Test(ctl_quantity, refuses_what_is_not_bytes) {
        static const char *const wrong[] = {"", " ", "K", "-1", "+1", " 1", "1 ", "12Q", "1KK",
                "1KB", "1.5G", "0x", "0xg", "0x0x1", "0x-1", "much", "1,000", "\xc2\xb2"};
        static const char *const large[] = {"18446744073709551616", "0x10000000000000000",
                "16777216T", "18014398509481984K", "99999999999999999999G"};
        uint64_t bytes = 7;
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                cr_expect_eq(quantity_parse_bytes(wrong[i], &bytes), -EINVAL, "%s", wrong[i]);
        for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++)
                cr_expect_eq(quantity_parse_bytes(large[i], &bytes), -ERANGE, "%s", large[i]);
        cr_expect_eq(bytes, 7);
}

Test(ctl_quantity, parses_ids) {
        uint32_t id = 7;
        cr_expect_eq(quantity_parse_id("4294967295", &id), 0);
        cr_expect_eq(id, UINT32_MAX);
        cr_expect_eq(quantity_parse_id("4294967296", &id), -ERANGE);
        cr_expect_eq(quantity_parse_id("99999999999999999999", &id), -ERANGE);
        cr_expect_eq(quantity_parse_id("0", &id), -ERANGE);
        cr_expect_eq(quantity_parse_id("-1", &id), -EINVAL);
        cr_expect_eq(quantity_parse_id("", &id), -EINVAL);
        cr_expect_eq(quantity_parse_id("1x", &id), -EINVAL);
        cr_expect_eq(id, UINT32_MAX);
}

Test(ctl_quantity, parses_seconds) {
        double seconds = 7;
        cr_expect_eq(quantity_parse_seconds("0.25", 0.01, 100, &seconds), 0);
        cr_expect_float_eq(seconds, 0.25, 1e-9);
        cr_expect_eq(quantity_parse_seconds("100", 0.01, 100, &seconds), 0);
        seconds = 7;
        static const char *const wrong[] = {
                "", "-1", "often", "nan", "inf", "1e1", "0x1", "1.2.3", ".", "1s"};
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                cr_expect_eq(quantity_parse_seconds(wrong[i], 0.01, 100, &seconds), -EINVAL, "%s",
                        wrong[i]);
        cr_expect_eq(quantity_parse_seconds("0", 0.01, 100, &seconds), -ERANGE);
        cr_expect_eq(quantity_parse_seconds("100.01", 0.01, 100, &seconds), -ERANGE);
        cr_expect_float_eq(seconds, 7, 0);
}

Test(ctl_quantity, formats_bytes_and_never_rounds_up_to_full) {
        char text[QUANTITY_BYTES];
        cr_expect_str_eq(quantity_bytes(text, 0), "0 B");
        cr_expect_str_eq(quantity_bytes(text, 1023), "1023 B");
        cr_expect_str_eq(quantity_bytes(text, 1024), "1 KiB");
        cr_expect_str_eq(quantity_bytes(text, 1536), "1.5 KiB");
        cr_expect_str_eq(quantity_bytes(text, (1 << 20) - 1), "1023.9 KiB");
        cr_expect_str_eq(quantity_bytes(text, (1 << 30) + 1), "1.0 GiB");
        cr_expect_str_eq(quantity_bytes(text, UINT64_C(3) << 40), "3 TiB");
        cr_expect_str_eq(quantity_bytes(text, UINT64_MAX), "15.9 EiB");
}

Test(ctl_quantity, formats_counts_times_and_shares) {
        char text[QUANTITY_BYTES];
        cr_expect_str_eq(quantity_count(text, 0), "0");
        cr_expect_str_eq(quantity_count(text, 999), "999");
        cr_expect_str_eq(quantity_count(text, 1000), "1,000");
        cr_expect_str_eq(quantity_count(text, UINT64_MAX), "18,446,744,073,709,551,615");
        cr_expect_str_eq(quantity_seconds(text, 59), "59 s");
        cr_expect_str_eq(quantity_seconds(text, 61), "1 min 01 s");
        cr_expect_str_eq(quantity_seconds(text, 7500), "2 h 05 min");
        cr_expect_str_eq(quantity_seconds(text, 90000), "1 d 01 h");
        cr_expect_str_eq(quantity_seconds(text, UINT64_MAX), "213503982334601 d 07 h");
        cr_expect_str_eq(quantity_share(text, 1, 8), "12.5 %");
        cr_expect_str_eq(quantity_share(text, 0, 0), "0.0 %");
}
