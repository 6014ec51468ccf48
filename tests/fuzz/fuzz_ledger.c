/* A ledger that somebody bent, as a daemon finds it at its start: words replaced, with their check bytes made right or not, and
 * bytes laid over it anywhere. It is refused and not a byte of it is changed; or taken over, and then every invariant holds,
 * nothing that is held is granted, and the next take-over finds the same. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/pool.h"
#include "fuzz.h"
#include "tape.h"

#define PAGES      2304u
#define PAGES_MAX  3072u
#define BENDS_MAX  64u
#define PIECE_MAX  512u
#define SLOTS_USED 6u /* of sessions, keys and hold words */

struct mapped {
        void *memory;
        struct ledger ledger;
};

static int image_fd = -1; /* a sound ledger with something of everything in it */
static struct ledger_layout layout;

static void require_zero(int result) {
        fuzz_require(result == 0);
}

static uint32_t session_of(struct pool *pool, const char *name) {
        struct pool_session_identity identity = {.pid = 1, .uid = 1};
        uint32_t session;
        memcpy(identity.name, name, strlen(name));
        require_zero(pool_session_open(pool, &identity, &session));
        pool_session_confirm(pool, session);
        return session;
}

static void fill(struct pool *pool) {
        struct block small, large, shared, keyed, freed;
        uint32_t ada = session_of(pool, "ada"), bob = session_of(pool, "bob");
        size_t bad;
        bool gone;
        pool_session_request(pool, ada, 7);
        require_zero(pool_grant(pool, ada, 0, &small));
        require_zero(pool_grant(pool, ada, 10, &large));
        require_zero(pool_grant(pool, bob, 3, &shared));
        require_zero(pool_attach(pool, ada, shared));
        require_zero(pool_publish(pool, bob, "key", shared, 3));
        require_zero(pool_grant(pool, ada, 2, &keyed));
        require_zero(pool_publish(pool, ada, "alone", keyed, 0));
        require_zero(pool_release(pool, ada, keyed, &gone));
        require_zero(pool_grant(pool, bob, 1, &freed));
        require_zero(pool_give_many(pool, bob, &freed, 1, ada, &bad));
        require_zero(pool_release(pool, ada, small, &gone));
}

static void image_make(void) {
        ledger_layout(PAGES_MAX, &layout);
        image_fd = memfd_create("ledger", MFD_CLOEXEC);
        fuzz_require(image_fd >= 0 && ftruncate(image_fd, (off_t)layout.total_bytes) == 0);
        void *memory =
                mmap(NULL, layout.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, image_fd, 0);
        fuzz_require(memory != MAP_FAILED);
        struct ledger_identity identity = {
                .pool = "fuzz", .page_shift = 12, .pages = PAGES, .pages_max = PAGES_MAX};
        struct ledger ledger;
        struct pool *pool;
        char fault[256];
        ledger_format(memory, &identity, &ledger);
        require_zero(pool_new(&ledger, NULL, &pool, fault, sizeof(fault)));
        fill(pool);
        pool_free(pool);
        munmap(memory, layout.total_bytes);
}

static struct mapped map(void) {
        struct mapped mapped;
        mapped.memory =
                mmap(NULL, layout.total_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, image_fd, 0);
        fuzz_require(mapped.memory != MAP_FAILED);
        char fault[256];
        require_zero(ledger_open(
                mapped.memory, layout.total_bytes, &mapped.ledger, fault, sizeof(fault)));
        return mapped;
}

/* ---- Bending ---- */

static uint32_t some_page(struct tape *tape) {
        return (uint32_t)tape_number(tape, 2) % (PAGES_MAX + 2);
}

static void bend_record(const struct ledger *ledger, struct tape *tape, uint64_t word, bool seal) {
        uint32_t page = some_page(tape) % PAGES_MAX;
        bool of_chunk = tape_byte(tape) & 1;
        if (of_chunk)
                page = page / CHUNK_PAGES * CHUNK_PAGES;
        if (seal)
                word = ledger_pack(ledger_unpack(word), page);
        ledger_store(of_chunk ? &ledger->chunks[page / CHUNK_PAGES] : &ledger->records[page], word);
}

static void bend_hold(const struct ledger *ledger, struct tape *tape, bool seal) {
        uint32_t slot = tape_byte(tape) % SLOTS_USED;
        struct ledger_hold hold = {.session = tape_byte(tape) % (SLOTS_USED + 2),
                .page = some_page(tape),
                .given = tape_byte(tape) & 1};
        uint64_t word = hold_pack(hold, seal ? slot : slot + 1);
        ledger_store(&ledger->holds[slot], tape_byte(tape) % 8 ? word : 0);
}

static void bend_key(const struct ledger *ledger, struct tape *tape, bool seal) {
        uint32_t slot = tape_byte(tape) % SLOTS_USED;
        struct ledger_key *key = &ledger->keys[slot];
        size_t length;
        const uint8_t *name = tape_piece(tape, tape_byte(tape) % 16, &length);
        memcpy(key->name, name, length);
        key->uid = tape_byte(tape);
        if (seal)
                key->digest = ledger_key_digest(key, slot);
        ledger_store(&key->range, key_pack(some_page(tape), tape_byte(tape), slot));
}

static void bend_session(const struct ledger *ledger, struct tape *tape, bool seal) {
        uint32_t slot = tape_byte(tape) % SLOTS_USED;
        struct ledger_session *session = &ledger->sessions[slot];
        size_t length;
        const uint8_t *name = tape_piece(tape, tape_byte(tape) % 16, &length);
        memcpy(session->name, name, length);
        uint64_t state = tape_byte(tape) % 5, flags = tape_byte(tape) % 4;
        if (seal)
                session->digest = ledger_session_digest(session, (unsigned)flags, slot);
        ledger_store(&session->state, state << 56 | flags << 48 | tape_byte(tape));
}

static void bend_progress(const struct ledger *ledger, struct tape *tape, bool seal) {
        uint32_t slot = tape_byte(tape) % SLOTS_USED;
        struct ledger_progress progress = {.request = tape_number(tape, 2),
                .done = tape_byte(tape),
                .sequence = tape_byte(tape) & 3};
        struct ledger_step step = {.page = some_page(tape),
                .link_plus_1 = tape_byte(tape) % SLOTS_USED,
                .sequence = progress.sequence,
                .taking = tape_byte(tape) & 1};
        if (tape_byte(tape) & 1)
                step.link_plus_1 += (uint32_t)ledger->hold_count;
        ledger_store(&ledger->sessions[slot].progress, progress_pack(progress, slot));
        ledger_store(&ledger->sessions[slot].step, step_pack(step, seal ? slot : slot + 1));
}

static void bend_header(const struct ledger *ledger, struct tape *tape) {
        struct ledger_header *header = ledger->header;
        uint64_t value = some_page(tape);
        switch (tape_byte(tape) % 5) {
        case 0:
                ledger_store(&header->pages, value);
                break;
        case 1:
                ledger_store(&header->pages_limit, value);
                break;
        case 2:
                ledger_store(&header->pages_limit, value);
                ledger_store(&header->pages, value);
                break;
        case 3:
                ledger_store(&header->next_serial, tape_number(tape, 8));
                break;
        default:
                ledger_store(&header->ready, tape_byte(tape) & 1 ? LEDGER_MAGIC : value);
        }
}

/* Bytes anywhere: the first 64 KiB of each table. */
static void overlay(const struct mapped *mapped, struct tape *tape) {
        const uint64_t tables[] = {
                0, layout.sessions, layout.keys, layout.holds, layout.chunks, layout.records};
        uint64_t at = tables[tape_byte(tape) % 6] + tape_number(tape, 2);
        size_t length, most = tape_byte(tape) * 2u + 1;
        if (most > PIECE_MAX)
                most = PIECE_MAX;
        const uint8_t *piece = tape_piece(tape, most, &length);
        if (at + length <= layout.total_bytes)
                memcpy((uint8_t *)mapped->memory + at, piece, length);
}

static void bend(const struct mapped *mapped, struct tape tape) {
        const struct ledger *ledger = &mapped->ledger;
        for (unsigned i = 0; i < BENDS_MAX && tape.left > 0; i++) {
                uint8_t how = tape_byte(&tape);
                bool seal = how % 16 != 15;
                switch (how / 16 % 8) {
                case 0:
                        bend_record(ledger, &tape, tape_number(&tape, 8), seal);
                        break;
                case 1: {
                        struct ledger_record record = {.order_plus_1 = tape_byte(&tape) % 64,
                                .owner = tape_byte(&tape) % (SLOTS_USED + 2),
                                .generation = tape_byte(&tape)};
                        bend_record(ledger, &tape, ledger_pack(record, 0), seal);
                        break;
                }
                case 2:
                        bend_hold(ledger, &tape, seal);
                        break;
                case 3:
                        bend_key(ledger, &tape, seal);
                        break;
                case 4:
                        bend_session(ledger, &tape, seal);
                        break;
                case 5:
                        bend_progress(ledger, &tape, seal);
                        break;
                case 6:
                        bend_header(ledger, &tape);
                        break;
                default:
                        overlay(mapped, &tape);
                }
        }
}

/* ---- Judging ---- */

/* Grants all that is free, page by page: none of it is held. */
static void exhaust(struct pool *pool) {
        static bool held[PAGES_MAX];
        static struct pool_hold holds[256];
        uint32_t cursor = 0;
        struct block block;
        memset(held, 0, sizeof(held));
        while (cursor != PAGE_NONE) {
                size_t count = pool_list_holds(pool, 0, &cursor, holds, 256);
                for (size_t i = 0; i < count; i++)
                        for (uint64_t p = 0; p < order_pages(holds[i].block.order); p++)
                                held[holds[i].block.page + p] = true;
        }
        while (pool_grant(pool, SESSION_OPERATOR, 0, &block) == 0) {
                fuzz_require(block.page < PAGES_MAX && !held[block.page]);
                held[block.page] = true;
        }
}

static void expect_sound(struct pool *pool) {
        struct pool_check_report report;
        fuzz_require(pool_check(pool, &report) == 0);
}

static void expect_taken_over_again(
        const struct mapped *mapped, const struct pool_check_report *as) {
        struct pool *pool;
        char fault[256];
        struct pool_check_report report;
        require_zero(pool_new(&mapped->ledger, NULL, &pool, fault, sizeof(fault)));
        require_zero(pool_check(pool, &report));
        fuzz_require(report.live_blocks == as->live_blocks && report.holds == as->holds &&
                     report.keys == as->keys && report.sessions == as->sessions);
        pool_free(pool);
}

static void end_sessions(struct pool *pool) {
        struct pool_reclaimed sum = {0};
        for (uint32_t at = 0; (at = pool_session_next(pool, at)) != 0;) {
                if (at == SESSION_OPERATOR)
                        continue;
                pool_session_close(pool, at);
                while (!pool_session_reclaim(pool, at, 64, &sum))
                        ;
        }
}

static void expect_harmless(const struct mapped *mapped, struct pool *pool) {
        struct pool_check_report report;
        require_zero(pool_check(pool, &report));
        expect_taken_over_again(mapped, &report);
        exhaust(pool);
        expect_sound(pool);
        end_sessions(pool);
        expect_sound(pool);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
        if (image_fd < 0)
                image_make();
        struct mapped mapped = map(), as_bent = map();
        struct tape tape = {bytes, length};
        bend(&mapped, tape);
        bend(&as_bent, tape);
        struct ledger ledger;
        struct pool *pool = NULL;
        char fault[256] = "";
        int r = ledger_open(mapped.memory, layout.total_bytes, &ledger, fault, sizeof(fault));
        if (r == 0)
                r = pool_new(&ledger, NULL, &pool, fault, sizeof(fault));
        if (r == 0) {
                expect_harmless(&mapped, pool);
                pool_free(pool);
        } else {
                fuzz_require(r == -ENODATA || (r == -EUCLEAN && fault[0]));
                fuzz_require(memcmp(mapped.memory, as_bent.memory, layout.total_bytes) == 0);
        }
        munmap(mapped.memory, layout.total_bytes);
        munmap(as_bent.memory, layout.total_bytes);
        return 0;
}
