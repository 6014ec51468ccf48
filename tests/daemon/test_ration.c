/* Warnings that strangers cause are rationed, and none of those left out goes uncounted. */
#include "daemon/ration.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "captured.h"

#define SECOND UINT64_C(1000000000)

Test(ration, a_burst_then_one_a_second) {
        struct ration ration = {0};
        uint64_t now = 5 * SECOND, left_out = 99;
        for (unsigned i = 0; i < RATION_BURST; i++)
                cr_assert(ration_take(&ration, now, &left_out) && left_out == 0, "%u", i);
        for (unsigned i = 0; i < 1000; i++)
                cr_assert_not(ration_take(&ration, now + SECOND - 1, &left_out));
        cr_assert(ration_take(&ration, now + SECOND, &left_out));
        cr_assert_eq(left_out, 1000);
        cr_assert_not(ration_take(&ration, now + SECOND, &left_out));
        cr_assert(ration_take(&ration, now + 2 * SECOND, &left_out));
        cr_assert_eq(left_out, 1);
}

Test(ration, rest_brings_the_burst_back_and_no_more) {
        struct ration ration = {0};
        uint64_t now = 0, left_out;
        for (int round = 0; round < 3; round++, now += 1000 * SECOND) {
                unsigned taken = 0;
                while (ration_take(&ration, now, &left_out))
                        taken++;
                cr_assert_eq(taken, RATION_BURST);
        }
}

Test(ration, the_end_tells_of_the_last_ones) {
        captured_begin(2);
        for (unsigned i = 0; i < RATION_BURST + 7; i++)
                ration_event(LOG_EVENT_REFUSED, NULL, "number %u", i);
        ration_end();
        ration_end();
        const char *text = captured_end();
        unsigned lines = 0;
        for (const char *at = text; (at = strchr(at, '\n')); at++)
                lines++;
        cr_assert_eq(lines, RATION_BURST + 1, "%s", text);
        cr_assert_not_null(strstr(text, "warning: number 19\n"));
        cr_assert_not_null(strstr(text, "warning: 7 warnings about connections were left out"));
}
