/* A pool on anonymous memory, for tests: the ledger outlives the pool, as it does a daemon. */
#pragma once

#include "core/pool.h"

struct pool_fixture {
        void *memory;
        uint64_t memory_bytes;
        struct ledger ledger;
        struct pool *pool;
        char fault[256];
};

/* Formats a ledger of pages (page size 4 KiB, growable to pages_max) and opens the pool. Aborts on failure. */
void fixture_init(struct pool_fixture *fixture, uint64_t pages, uint64_t pages_max);

/* Drops the pool's private state and takes it over again from the ledger, as after a kill. */
int fixture_recover(struct pool_fixture *fixture);

void fixture_deinit(struct pool_fixture *fixture);

/* Opens a session of this name and uid; aborts on failure. */
uint32_t fixture_session(struct pool_fixture *fixture, const char *name, uint32_t uid);

/* Closes a session and reclaims all of it. */
void fixture_close(struct pool_fixture *fixture, uint32_t session);

/* Grants one block; aborts on failure. */
struct block fixture_granted(struct pool_fixture *fixture, uint32_t session, unsigned order);

/* Walks every invariant; aborts with the fault. */
void fixture_check(struct pool_fixture *fixture);

uint64_t fixture_free_pages(struct pool_fixture *fixture);
uint64_t fixture_held_ranges(struct pool_fixture *fixture, uint32_t session);
