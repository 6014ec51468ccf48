/* See crash_state.h. */
#include "crash_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Slots of each table that operations on the scene reach. */
#define SESSION_SLOTS 16
#define KEY_SLOTS     4
#define HOLD_SLOTS    64
#define PART_COUNT    6
#define LINE_BYTES    (LEDGER_KEY_BYTES + LEDGER_NAME_BYTES + 128)
#define BUCKETS       65536u

struct part {
        size_t offset, words; /* bytes from the ledger's base; length */
};

struct known_state {
        uint64_t key;
        char *text; /* NULL: an empty bucket; owned */
};

struct scene_image {
        struct part parts[PART_COUNT];
        uint64_t *words[PART_COUNT]; /* owned */
        struct snapshot holds;
        struct scene mirror; /* takes over copies of ledgers; owned */
        struct known_state known[BUCKETS];
        size_t known_count;
};

static uint64_t *part_at(const struct part *part, const struct scene *scene) {
        return (uint64_t *)((char *)scene->fixture.memory + part->offset);
}

static void parts_find(struct scene_image *image, const struct scene *scene) {
        const struct ledger *ledger = &scene->fixture.ledger;
        const struct {
                const void *from;
                size_t bytes;
        } parts[PART_COUNT] = {
                {ledger->header, sizeof *ledger->header},
                {ledger->sessions, SESSION_SLOTS * sizeof *ledger->sessions},
                {ledger->keys, KEY_SLOTS * sizeof *ledger->keys},
                {ledger->holds, HOLD_SLOTS * sizeof *ledger->holds},
                {ledger->chunks, SCENE_PAGES_MAX / CHUNK_PAGES * sizeof *ledger->chunks},
                {ledger->records, SCENE_PAGES_MAX * sizeof *ledger->records},
        };
        for (size_t i = 0; i < PART_COUNT; i++)
                image->parts[i] = (struct part){
                        .offset = (size_t)((const char *)parts[i].from -
                                           (const char *)scene->fixture.memory),
                        .words = parts[i].bytes / sizeof(uint64_t),
                };
}

struct scene_image *image_new(struct scene *scene) {
        struct scene_image *image = calloc(1, sizeof *image);
        require(image != NULL, "out of memory");
        parts_find(image, scene);
        for (size_t i = 0; i < PART_COUNT; i++) {
                const struct part *part = &image->parts[i];
                image->words[i] = malloc(part->words * sizeof(uint64_t));
                require(image->words[i] != NULL, "out of memory");
                memcpy(image->words[i], part_at(part, scene), part->words * sizeof(uint64_t));
        }
        snapshot_take(scene->fixture.pool, &image->holds);
        scene_init(&image->mirror, scene->batch_count);
        return image;
}

void image_free(struct scene_image *image) {
        for (size_t i = 0; i < PART_COUNT; i++)
                free(image->words[i]);
        for (size_t i = 0; i < BUCKETS; i++)
                free(image->known[i].text);
        scene_deinit(&image->mirror);
        free(image);
}

size_t image_states(const struct scene_image *image) {
        return image->known_count;
}

static void scene_recover(struct scene *scene) {
        struct pool_check_report report;
        if (fixture_recover(&scene->fixture) < 0)
                require(false, scene->fixture.fault);
        if (pool_check(scene->fixture.pool, &report) < 0)
                require(false, report.fault);
}

void image_restore(const struct scene_image *image, struct scene *scene) {
        for (size_t i = 0; i < PART_COUNT; i++)
                memcpy(part_at(&image->parts[i], scene), image->words[i],
                        image->parts[i].words * sizeof(uint64_t));
        require(fixture_recover(&scene->fixture) == 0, "the scene itself is damaged");
        scene_track(scene);
}

/* ---- As a text ---- */

static const struct pool_hold *hold_of_image(
        const struct scene_image *image, const struct block *block) {
        for (size_t i = 0; i < image->holds.count; i++)
                if (memcmp(&image->holds.holds[i].block, block, sizeof *block) == 0)
                        return &image->holds.holds[i];
        return NULL;
}

/* A block that is not of the image is a later life than any of the image's at this place. */
static void hold_line(const struct scene_image *image, const struct pool_hold *hold,
        char line[static LINE_BYTES]) {
        const struct block *block = &hold->block;
        char holder[LEDGER_KEY_BYTES + 32];
        if (hold->session)
                snprintf(holder, sizeof holder, "session %u%s", hold->session,
                        hold->given ? ", given" : "");
        else
                snprintf(holder, sizeof holder, "key %s", hold->key);
        if (hold_of_image(image, block)) {
                snprintf(line, LINE_BYTES, "page %u order %u: %s\n", block->page, block->order,
                        holder);
                return;
        }
        size_t record = block->order >= CHUNK_ORDER ? 4 : 5;
        size_t index = record == 4 ? block->page >> CHUNK_ORDER : block->page;
        require((uint32_t)image->words[record][index] < block->generation,
                "a life of a block came back");
        snprintf(line, LINE_BYTES, "new block of order %u: %s\n", block->order, holder);
}

static int line_compare(const void *a, const void *b) {
        return strcmp(a, b);
}

/* How many ranges of its request a session has changed; none yet and none of any request are the same. */
static uint32_t session_done(struct pool *pool, uint32_t session) {
        struct pool_progress progress;
        pool_session_progress(pool, session, &progress);
        require(progress.request == SCENE_REQUEST || progress.done == 0, "progress of what?");
        return progress.done;
}

static size_t session_lines(struct pool *pool, char (*lines)[LINE_BYTES]) {
        size_t count = 0;
        for (uint32_t s = 0; (s = pool_session_next(pool, s)) != 0;) {
                struct pool_session_info info;
                require(pool_session_info(pool, s, &info) == 0, "session info");
                snprintf(lines[count++], LINE_BYTES,
                        "session %u: %s, pid %u, uid %u, state %d, %llu bytes in %llu ranges, %u "
                        "done\n",
                        s, info.identity.name, info.identity.pid, info.identity.uid,
                        (int)info.state, (unsigned long long)info.held_bytes,
                        (unsigned long long)info.held_ranges, session_done(pool, s));
        }
        return count;
}

char *state_text(const struct scene_image *image, struct scene *scene) {
        static char lines[SCENE_HOLDS_MAX + SESSION_SLOTS][LINE_BYTES];
        static struct snapshot now;
        char *text;
        size_t bytes;
        FILE *out = open_memstream(&text, &bytes);
        require(out != NULL, "out of memory");
        snapshot_take(scene->fixture.pool, &now);
        for (size_t i = 0; i < now.count; i++)
                hold_line(image, &now.holds[i], lines[i]);
        size_t count = now.count + session_lines(scene->fixture.pool, &lines[now.count]);
        qsort(lines, count, LINE_BYTES, line_compare);
        fprintf(out, "%llu pages\n", (unsigned long long)now.pages);
        for (size_t i = 0; i < count; i++)
                fputs(lines[i], out);
        fclose(out);
        return text;
}

/* ---- As a take-over finds it ---- */

static uint64_t scene_hash(const struct scene_image *image, const struct scene *scene) {
        uint64_t hash = UINT64_C(0x9e3779b97f4a7c15);
        for (size_t i = 0; i < PART_COUNT; i++) {
                const uint64_t *words = part_at(&image->parts[i], scene);
                for (size_t w = 0; w < image->parts[i].words; w++) {
                        hash = (hash ^ words[w]) * UINT64_C(0xff51afd7ed558ccd);
                        hash ^= hash >> 32;
                }
        }
        return hash;
}

static struct known_state *known_find(struct scene_image *image, uint64_t key) {
        uint32_t bucket = (uint32_t)key % BUCKETS;
        while (image->known[bucket].text && image->known[bucket].key != key)
                bucket = (bucket + 1) % BUCKETS;
        return &image->known[bucket];
}

/* The mirror's ledger, which has been worked on, says what its pool does. */
static void mirror_confirm(struct scene_image *image) {
        char *live = state_text(image, &image->mirror);
        scene_recover(&image->mirror);
        char *recovered = state_text(image, &image->mirror);
        require(strcmp(live, recovered) == 0, "what came after a recovery is not in the ledger");
        free(live);
        free(recovered);
}

/* What a kill left behind out of sight, such as a record in a chunk that is not split yet, must not come to light when the
 * pool goes on: a block of a chunk that was free is granted, then everybody leaves. */
static void mirror_go_on(struct scene_image *image) {
        struct pool *pool = image->mirror.fixture.pool;
        struct block block;
        pool_grant(pool, SESSION_OPERATOR, CHUNK_ORDER - 1, &block);
        mirror_confirm(image);
        pool = image->mirror.fixture.pool;
        for (uint32_t s = 0; (s = pool_session_next(pool, s)) != 0;)
                if (s != SESSION_OPERATOR)
                        fixture_close(&image->mirror.fixture, s);
        mirror_confirm(image);
}

const char *state_recovered(struct scene_image *image, const struct scene *scene) {
        uint64_t key = scene_hash(image, scene);
        struct known_state *known = known_find(image, key);
        if (known->text)
                return known->text;
        require(image->known_count++ < BUCKETS / 2, "too many states to know them all");
        for (size_t i = 0; i < PART_COUNT; i++)
                memcpy(part_at(&image->parts[i], &image->mirror), part_at(&image->parts[i], scene),
                        image->parts[i].words * sizeof(uint64_t));
        scene_recover(&image->mirror);
        scene_finish_closing(&image->mirror);
        struct pool_check_report report;
        if (pool_check(image->mirror.fixture.pool, &report) < 0)
                require(false, report.fault);
        *known = (struct known_state){.key = key, .text = state_text(image, &image->mirror)};
        mirror_go_on(image);
        return known->text;
}
