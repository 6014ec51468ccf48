/* The table of requests: complete, and strict about who may ask what when. */
#include "daemon/dispatch.h"

#include <criterion/criterion.h>

static const struct dispatch_asker stranger = {false, false, false};
static const struct dispatch_asker observer = {true, false, false};
static const struct dispatch_asker reader = {true, true, true};
static const struct dispatch_asker client = {true, true, false};

#define X(upper, lower, number) number,
static const unsigned kinds[] = {REQUEST_LIST(X)};
#undef X

static enum status admit(unsigned kind, struct dispatch_asker asker) {
        const char *reason = NULL;
        enum status status = dispatch_admit(dispatch_find(kind), asker, &reason);
        cr_expect((status == STATUS_OK) == (reason == NULL), "a refusal has a reason");
        return status;
}

Test(dispatch, every_request_has_a_row_of_its_name) {
#define X(upper, lower, number)                                                                    \
        cr_assert_not_null(dispatch_find(REQUEST_##upper));                                        \
        cr_expect_str_eq(dispatch_find(REQUEST_##upper)->name, #lower);
        REQUEST_LIST(X)
#undef X
}

Test(dispatch, other_numbers_have_none) {
        cr_expect_null(dispatch_find(REQUEST_NONE));
        cr_expect_null(dispatch_find(1));
        cr_expect_null(dispatch_find(REQUEST_KIND_END));
        cr_expect_null(dispatch_find(UINT32_MAX));
}

Test(dispatch, before_hello_there_are_hello_ping_and_metrics) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
                unsigned kind = kinds[i];
                bool served =
                        kind == REQUEST_HELLO || kind == REQUEST_PING || kind == REQUEST_METRICS;
                cr_expect_eq(
                        admit(kind, stranger), served ? STATUS_OK : STATUS_PROTOCOL, "%u", kind);
        }
}

Test(dispatch, hello_comes_once) {
        cr_expect_eq(admit(REQUEST_HELLO, client), STATUS_PROTOCOL);
        cr_expect_eq(admit(REQUEST_HELLO, observer), STATUS_PROTOCOL);
}

Test(dispatch, a_client_may_ask_everything_else) {
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
                if (kinds[i] != REQUEST_HELLO)
                        cr_expect_eq(admit(kinds[i], client), STATUS_OK, "%u", kinds[i]);
}

Test(dispatch, observers_hold_nothing) {
        static const unsigned refused[] = {REQUEST_ALLOC, REQUEST_RELEASE, REQUEST_ATTACH,
                REQUEST_GIVE, REQUEST_LOOKUP, REQUEST_PUBLISH, REQUEST_UNPUBLISH};
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
                cr_expect_eq(admit(refused[i], observer), STATUS_DENIED, "%u", refused[i]);
        static const unsigned served[] = {REQUEST_PING, REQUEST_STATS, REQUEST_CLIENTS,
                REQUEST_HOLDS, REQUEST_CHECK, REQUEST_MAP, REQUEST_HOLD, REQUEST_UNHOLD,
                REQUEST_GOODBYE, REQUEST_METRICS};
        for (size_t i = 0; i < sizeof served / sizeof *served; i++)
                cr_expect_eq(admit(served[i], observer), STATUS_OK, "%u", served[i]);
}

Test(dispatch, readers_take_what_others_share_and_no_more) {
        static const unsigned refused[] = {
                REQUEST_ALLOC, REQUEST_GIVE, REQUEST_PUBLISH, REQUEST_UNPUBLISH};
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
                cr_expect_eq(admit(refused[i], reader), STATUS_DENIED, "%u", refused[i]);
        static const unsigned served[] = {
                REQUEST_ATTACH, REQUEST_LOOKUP, REQUEST_RELEASE, REQUEST_FIND, REQUEST_STATS};
        for (size_t i = 0; i < sizeof served / sizeof *served; i++)
                cr_expect_eq(admit(served[i], reader), STATUS_OK, "%u", served[i]);
}
