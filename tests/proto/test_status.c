#include <criterion/criterion.h>

#include "proto/status.h"

static const unsigned all[] = {
#define X(name, wire, number) wire,
        STATUS_LIST(X)
#undef X
};

Test(status, every_one_comes_back) {
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                cr_assert_eq(all[i], i, "wire numbers are dense");
                cr_assert_eq(status_from_errno(status_to_errno(all[i])), all[i]);
        }
        cr_assert_eq(status_to_errno(STATUS_NO_SPACE), -ENOMEM);
        cr_assert_eq(status_to_errno(STATUS_OK), 0);
}

Test(status, unknown_number_is_a_protocol_error) {
        cr_assert_eq(status_to_errno(13), -EPROTO);
        cr_assert_eq(status_to_errno(0xffffffff), -EPROTO);
        cr_assert_eq(status_from_wire(13), STATUS_PROTOCOL);
        cr_assert_eq(status_from_wire(0xffffffff), STATUS_PROTOCOL);
}

Test(status, refusal_is_never_ok) {
        cr_assert_eq(status_from_wire(0), STATUS_PROTOCOL);
        for (unsigned status = 1; status < sizeof(all) / sizeof(all[0]); status++)
                cr_assert_eq(status_from_wire(status), status);
}

Test(status, foreign_errno_is_invalid) {
        cr_assert_eq(status_from_errno(-EPIPE), STATUS_INVALID);
        cr_assert_eq(status_from_errno(-12345), STATUS_INVALID);
}
