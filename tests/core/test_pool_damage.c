/* Every word of a small ledger, bent in every way that a single word can be: refused without a change, or harmless. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pool_fixture.h"

#define PAGES       2304
#define PAGES_MAX   3072
#define HOLDS_MAX   64
#define PARTS       8
#define CORRUPTIONS (64 + 4)

/* Words that are bent: count of them, step words apart. */
struct part {
        const char *name;
        uint64_t *words;
        size_t count, step;
};

static struct pool_fixture fixture;
static uint64_t *sound; /* the whole ledger before the damage */
static struct pool_hold holds[HOLDS_MAX];
static size_t hold_count;
static struct part parts[PARTS];
static unsigned refused, accepted;

static uint32_t cursor_list(struct pool_hold *out, size_t *count) {
        uint32_t cursor = 0;
        *count = pool_list_holds(fixture.pool, 0, &cursor, out, HOLDS_MAX);
        return cursor;
}

static void setup(void) {
        struct block small, large, shared, freed_block, keyed;
        bool freed;
        fixture_init(&fixture, PAGES, PAGES_MAX);
        struct pool *pool = fixture.pool;
        uint32_t ada = fixture_session(&fixture, "ada", 1);
        uint32_t bob = fixture_session(&fixture, "bob", 2);
        cr_assert_eq(pool_grant(pool, ada, 0, &small), 0);
        cr_assert_eq(pool_grant(pool, bob, 1, &freed_block), 0);
        cr_assert_eq(pool_grant(pool, ada, 10, &large), 0);
        cr_assert_eq(pool_grant(pool, ada, 3, &shared), 0);
        cr_assert_eq(pool_attach(pool, bob, shared), 0);
        cr_assert_eq(pool_attach(pool, bob, small), 0);
        cr_assert_eq(pool_publish(pool, ada, "key", shared, 0), 0);
        cr_assert_eq(pool_grant(pool, ada, 2, &keyed), 0);
        cr_assert_eq(pool_publish(pool, ada, "alone", keyed, 0), 0);
        cr_assert_eq(pool_release(pool, ada, keyed, &freed), 0);
        cr_assert_eq(pool_release(pool, bob, freed_block, &freed), 0);
        cr_assert_eq(cursor_list(holds, &hold_count), PAGE_NONE);
        sound = malloc(fixture.memory_bytes);
        cr_assert_not_null(sound);
        memcpy(sound, fixture.memory, fixture.memory_bytes);
        const struct ledger *ledger = &fixture.ledger;
        const struct part all[PARTS] = {
                {"header", (uint64_t *)ledger->header, sizeof *ledger->header / 8, 1},
                {"behind the header", (uint64_t *)ledger->header + 64, 6, 70},
                {"sessions", (uint64_t *)ledger->sessions, 6 * sizeof *ledger->sessions / 8, 1},
                {"keys", (uint64_t *)ledger->keys, 3 * sizeof *ledger->keys / 8, 1},
                {"holds", (uint64_t *)ledger->holds, 6, 1},
                {"chunk words", (uint64_t *)ledger->chunks, PAGES_MAX / CHUNK_PAGES, 1},
                {"records in use", (uint64_t *)ledger->records, CHUNK_PAGES, 1},
                {"other records", (uint64_t *)ledger->records + CHUNK_PAGES, 32, 79},
        };
        memcpy(parts, all, sizeof parts);
}

static void teardown(void) {
        free(sound);
        fixture_deinit(&fixture);
}

TestSuite(pool_damage, .init = setup, .fini = teardown, .timeout = 1200);

/* The i-th way to bend a word: each bit, nothing, all ones, and the words beside it. */
static uint64_t bent(const uint64_t *word, unsigned i) {
        switch (i) {
        case 64:
                return 0;
        case 65:
                return UINT64_MAX;
        case 66:
                return word[1];
        case 67:
                return word > (uint64_t *)fixture.memory ? word[-1] : word[2];
        default:
                return *word ^ UINT64_C(1) << i;
        }
}

/* What is compared and put back without looking at megabytes that are empty: every part whole. */
static const struct extent {
        uint64_t *from;
        size_t bytes;
} * extents(void) {
        static struct extent all[5];
        const struct ledger *ledger = &fixture.ledger;
        all[0] = (struct extent){fixture.memory, 4096 + 8 * sizeof *ledger->sessions};
        all[1] = (struct extent){(uint64_t *)ledger->keys, 4 * sizeof *ledger->keys};
        all[2] = (struct extent){(uint64_t *)ledger->holds, 4096};
        all[3] = (struct extent){(uint64_t *)ledger->chunks, PAGES_MAX / CHUNK_PAGES * 8};
        all[4] = (struct extent){(uint64_t *)ledger->records, PAGES_MAX * 8};
        return all;
}

static uint64_t *sound_at(const uint64_t *word) {
        return sound + (word - (uint64_t *)fixture.memory);
}

static void restore(void) {
        for (size_t i = 0; i < 5; i++)
                memcpy(extents()[i].from, sound_at(extents()[i].from), extents()[i].bytes);
}

static bool is_as_bent(uint64_t *word, uint64_t value) {
        if (*word != value)
                return false;
        uint64_t *was = sound_at(word);
        uint64_t kept = *was;
        bool same = true;
        *was = value;
        for (size_t i = 0; i < 5 && same; i++)
                same = memcmp(extents()[i].from, sound_at(extents()[i].from), extents()[i].bytes) ==
                       0;
        *was = kept;
        return same;
}

static bool hold_is_same(const struct pool_hold *a, const struct pool_hold *b) {
        return a->block.page == b->block.page && a->session == b->session &&
               strcmp(a->key, b->key) == 0;
}

/* Nobody has lost a hold, but for one whose only word is empty now: nothing says then that there was anything. Marks the
 * pages that are held, as many as it was before. */
static void mark_still_held(const char *what, bool emptied, bool held[PAGES_MAX]) {
        struct pool_hold now[HOLDS_MAX];
        size_t count, found = 0;
        cr_assert_eq(cursor_list(now, &count), PAGE_NONE, "%s", what);
        memset(held, 0, PAGES_MAX * sizeof *held);
        for (size_t i = 0; i < hold_count; i++)
                for (size_t j = 0; j < count; j++)
                        if (hold_is_same(&holds[i], &now[j])) {
                                for (uint64_t p = 0; p < order_pages(holds[i].block.order); p++)
                                        held[holds[i].block.page + p] = true;
                                found++;
                                break;
                        }
        cr_assert_eq(count, found, "%s: a hold from nowhere", what);
        cr_assert(found == hold_count || emptied, "%s: a hold is lost", what);
}

/* Grants all that is free, page by page. */
static void expect_harmless(const char *what, bool emptied) {
        static bool held[PAGES_MAX];
        struct pool_check_report report;
        struct block block;
        cr_assert_eq(pool_check(fixture.pool, &report), 0, "%s: %s", what, report.fault);
        mark_still_held(what, emptied, held);
        while (pool_grant(fixture.pool, SESSION_OPERATOR, 0, &block) == 0) {
                cr_assert(!held[block.page], "%s: page %u is granted and held", what, block.page);
                held[block.page] = true;
        }
        cr_assert_eq(pool_check(fixture.pool, &report), 0, "%s, later: %s", what, report.fault);
}

static void try_damage(const struct part *part, size_t index, unsigned way) {
        uint64_t *word = &part->words[index * part->step];
        uint64_t value = bent(word, way);
        char what[128];
        if (value == *word)
                return;
        snprintf(what, sizeof what, "%s, word %zu, %#llx bent to %#llx", part->name,
                index * part->step, (unsigned long long)*word, (unsigned long long)value);
        *word = value;
        int r = fixture_recover(&fixture);
        if (r == 0) {
                accepted++;
                expect_harmless(what, value == 0);
        } else {
                refused++;
                cr_assert(r == -EUCLEAN || r == -ENODATA, "%s: %d", what, r);
                cr_assert(r == -ENODATA || fixture.fault[0], "%s: no reason given", what);
                cr_assert(is_as_bent(word, value), "%s: refused, but changed", what);
        }
        restore();
}

static void try_part(const struct part *part) {
        refused = accepted = 0;
        for (size_t index = 0; index < part->count; index++)
                for (unsigned way = 0; way < CORRUPTIONS; way++)
                        try_damage(part, index, way);
        printf("%-18s %4zu words: %5u refused, %5u harmless\n", part->name, part->count, refused,
                accepted);
}

Test(pool_damage, of_the_header_is_refused_or_harmless) {
        try_part(&parts[0]);
        try_part(&parts[1]);
        cr_expect_eq(refused, 0);
}

Test(pool_damage, of_a_session_is_refused_or_harmless) {
        try_part(&parts[2]);
        cr_expect_gt(refused, 0);
}

Test(pool_damage, of_a_key_is_refused_or_harmless) {
        try_part(&parts[3]);
        cr_expect_gt(refused, 0);
}

Test(pool_damage, of_a_hold_is_refused_or_harmless) {
        try_part(&parts[4]);
        cr_expect_gt(refused, 0);
}

Test(pool_damage, of_a_chunk_word_is_refused_or_harmless) {
        try_part(&parts[5]);
        cr_expect_gt(refused, 0);
}

Test(pool_damage, of_a_record_is_refused_or_harmless) {
        try_part(&parts[6]);
        cr_expect_gt(refused, 0);
        try_part(&parts[7]);
}
