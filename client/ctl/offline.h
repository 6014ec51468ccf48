/* The ledger of a pool that no daemon serves: copied out of its shared memory object, which is opened read-only and not
 * changed, not even in what it occupies; taken over and walked as a copy, by the daemon's own code. */
#pragma once

#include <stdint.h>

#include "command.h"
#include "core/ledger.h"
#include "core/pool.h"

struct offline_result {
        struct pool_check_report report; /* fault: what is wrong and where, or empty */
        char pool[LEDGER_NAME_BYTES];
        uint64_t page_bytes, size_bytes, capacity_bytes; /* 0 where the ledger does not say */
        uint64_t restarts;
};

/* EXIT_DONE or EXIT_FAULT: *out is complete. EXIT_REFUSED: there is no such pool of this user, or a daemon serves it, or it
 * may not be looked at; said why in one line. */
enum exit_status offline_check(uint32_t uid, const char *pool, struct offline_result *out);
