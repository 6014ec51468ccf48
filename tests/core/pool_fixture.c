#include "pool_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "fixture: %s failed\n", what);
        abort();
}

void fixture_init(struct pool_fixture *fixture, uint64_t pages, uint64_t pages_max) {
        memset(fixture, 0, sizeof *fixture);
        struct ledger_layout layout;
        ledger_layout(pages_max, &layout);
        fixture->memory_bytes = layout.total_bytes;
        fixture->memory = mmap(NULL, layout.total_bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        require(fixture->memory != MAP_FAILED, "mmap");
        struct ledger_identity identity = {
                .pool = "test", .page_shift = 12, .pages = pages, .pages_max = pages_max};
        ledger_format(fixture->memory, &identity, &fixture->ledger);
        require(pool_new(&fixture->ledger, NULL, &fixture->pool, fixture->fault,
                        sizeof fixture->fault) == 0,
                "pool_new");
}

int fixture_recover(struct pool_fixture *fixture) {
        pool_free(fixture->pool);
        fixture->pool = NULL;
        int r = ledger_open(fixture->memory, fixture->memory_bytes, &fixture->ledger,
                fixture->fault, sizeof fixture->fault);
        if (r < 0)
                return r;
        return pool_new(
                &fixture->ledger, NULL, &fixture->pool, fixture->fault, sizeof fixture->fault);
}

void fixture_deinit(struct pool_fixture *fixture) {
        pool_free(fixture->pool);
        munmap(fixture->memory, fixture->memory_bytes);
}

uint32_t fixture_session(struct pool_fixture *fixture, const char *name, uint32_t uid) {
        struct pool_session_identity identity = {.pid = 1, .uid = uid};
        snprintf(identity.name, sizeof identity.name, "%s", name);
        uint32_t session;
        require(pool_session_open(fixture->pool, &identity, &session) == 0, "pool_session_open");
        pool_session_confirm(fixture->pool, session);
        return session;
}

void fixture_close(struct pool_fixture *fixture, uint32_t session) {
        struct pool_reclaimed sum = {0};
        pool_session_close(fixture->pool, session);
        while (!pool_session_reclaim(fixture->pool, session, 64, &sum))
                ;
}

struct block fixture_granted(struct pool_fixture *fixture, uint32_t session, unsigned order) {
        struct block block;
        require(pool_grant(fixture->pool, session, order, &block) == 0, "pool_grant");
        return block;
}

void fixture_check(struct pool_fixture *fixture) {
        struct pool_check_report report;
        require(pool_check(fixture->pool, &report) == 0, report.fault);
}

uint64_t fixture_free_pages(struct pool_fixture *fixture) {
        struct buddy_totals totals;
        pool_totals(fixture->pool, &totals);
        return totals.free_pages;
}

uint64_t fixture_held_ranges(struct pool_fixture *fixture, uint32_t session) {
        struct pool_session_info info;
        require(pool_session_info(fixture->pool, session, &info) == 0, "pool_session_info");
        return info.held_ranges;
}
