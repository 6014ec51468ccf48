/* Wire status and errno, each from the one list. */
#include "status.h"

int status_to_errno(unsigned status) {
        switch (status) {
#define X(name, wire, number)                                                                      \
        case wire:                                                                                 \
                return -number;
                STATUS_LIST(X)
#undef X
        default:
                return -EPROTO;
        }
}

enum status status_from_errno(int error) {
        switch (error) {
#define X(name, wire, number)                                                                      \
        case -number:                                                                              \
                return STATUS_##name;
                STATUS_LIST(X)
#undef X
        default:
                return STATUS_INVALID;
        }
}

enum status status_from_wire(unsigned status) {
        switch (status) {
#define X(name, wire, number) case wire:
                STATUS_LIST(X)
#undef X
                return status == STATUS_OK ? STATUS_PROTOCOL : (enum status)status;
        default:
                return STATUS_PROTOCOL;
        }
}
