/* An array of cells and one of shares, which are merged whenever their room is used up. */
#include "map.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "complain.h"

#define SHARES_ROOM_MIN  8192u
#define SESSION_OPERATOR 1u

uint64_t map_cell_bytes(uint64_t size_bytes, uint64_t page_bytes, size_t max) {
        uint64_t cell = page_bytes;
        while ((size_bytes + cell - 1) / cell > max)
                cell *= 2;
        return cell;
}

uint64_t map_cell_bytes_near(uint64_t size_bytes, uint64_t page_bytes, size_t max) {
        uint64_t pages = size_bytes / page_bytes;
        uint64_t cell_pages = (pages + max - 1) / max;
        return (cell_pages > 0 ? cell_pages : 1) * page_bytes;
}

int map_begin(struct map *map, uint64_t size_bytes, uint64_t cell_bytes) {
        *map = (struct map){.size_bytes = size_bytes, .cell_bytes = cell_bytes};
        map->count = (size_t)((size_bytes + cell_bytes - 1) / cell_bytes);
        map->cells = calloc(map->count > 0 ? map->count : 1, sizeof(*map->cells));
        if (!map->cells)
                return -ENOMEM;
        for (size_t i = 0; i < map->count; i++) {
                struct map_cell *cell = &map->cells[i];
                cell->offset = i * cell_bytes;
                uint64_t left = size_bytes - cell->offset;
                cell->length = left < cell_bytes ? left : cell_bytes;
        }
        return 0;
}

void map_deinit(struct map *map) {
        free(map->cells);
        free(map->shares);
        *map = (struct map){0};
}

/* ---- Shares ---- */

static int share_compare(const void *left, const void *right) {
        const struct map_share *a = left, *b = right;
        if (a->cell != b->cell)
                return a->cell < b->cell ? -1 : 1;
        return (a->session > b->session) - (a->session < b->session);
}

static int share_compare_bytes(const void *left, const void *right) {
        const struct map_share *a = left, *b = right;
        if (a->cell != b->cell)
                return a->cell < b->cell ? -1 : 1;
        if (a->bytes != b->bytes)
                return a->bytes > b->bytes ? -1 : 1;
        return (a->session > b->session) - (a->session < b->session);
}

/* One entry for each session in each cell. Returns how many there are. */
static size_t shares_merge(struct map_share *shares, size_t count) {
        size_t kept = 0;
        if (count > 0)
                qsort(shares, count, sizeof(*shares), share_compare);
        for (size_t i = 0; i < count; i++) {
                if (kept > 0 && share_compare(&shares[kept - 1], &shares[i]) == 0)
                        shares[kept - 1].bytes += shares[i].bytes;
                else
                        shares[kept++] = shares[i];
        }
        return kept;
}

static int shares_make_room(struct map *map, size_t more) {
        if (map->share_count + more <= map->share_room)
                return 0;
        map->share_count = shares_merge(map->shares, map->share_count);
        size_t needed = 2 * (map->share_count + more);
        if (needed <= map->share_room)
                return 0;
        size_t room = needed > SHARES_ROOM_MIN ? needed : SHARES_ROOM_MIN;
        struct map_share *grown = reallocarray(map->shares, room, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        map->shares = grown;
        map->share_room = room;
        return 0;
}

/* ---- Adding up ---- */

int map_add(struct map *map, const struct reply_map *reply) {
        if (reply->first > map->count || reply->granted_count > map->count - reply->first ||
                reply->cached_count > map->count)
                return -EPROTO;
        for (size_t i = 0; i < reply->share_count; i++)
                if (reply->share_cells[i] >= map->count)
                        return -EPROTO;
        int error = shares_make_room(map, reply->share_count);
        if (error != 0)
                return error;
        for (size_t i = 0; i < reply->granted_count; i++)
                map->cells[reply->first + i].held += reply->granted[i];
        for (size_t i = 0; i < reply->cached_count; i++)
                map->cells[i].cached += reply->cached[i];
        for (size_t i = 0; i < reply->share_count; i++) {
                map->cells[reply->share_cells[i]].held += reply->share_bytes[i];
                map->shares[map->share_count++] = (struct map_share){
                        reply->share_cells[i], reply->share_sessions[i], reply->share_bytes[i]};
        }
        return 0;
}

/* The parts are of different instants: nothing may become more than there is. */
static void cell_settle(struct map_cell *cell) {
        uint64_t granted = cell->held < cell->length ? cell->held : cell->length;
        cell->cached = cell->cached < granted ? cell->cached : granted;
        cell->held = granted - cell->cached;
        cell->free = cell->length - granted;
}

void map_end(struct map *map) {
        for (size_t i = 0; i < map->count; i++)
                cell_settle(&map->cells[i]);
        map->share_count = shares_merge(map->shares, map->share_count);
        if (map->share_count > 0)
                qsort(map->shares, map->share_count, sizeof(*map->shares), share_compare_bytes);
        for (size_t i = 0; i < map->share_count; i++) {
                struct map_cell *cell = &map->cells[map->shares[i].cell];
                if (cell->share_count++ == 0)
                        cell->shares = &map->shares[i];
        }
}

static enum exit_status map_ask(
        struct observer *observer, struct request *request, struct map *map) {
        struct reply reply;
        do {
                enum exit_status status = ask(observer, request, REPLY_MAP, &reply);
                if (status != EXIT_DONE)
                        return status;
                int error = map_add(map, &reply.map);
                if (error == -ENOMEM)
                        return complain(EXIT_REFUSED, "out of memory; free some and try again");
                if (error != 0)
                        return ask_complain_unanswered(error);
                request->map.cursor = reply.map.next_cursor;
        } while (request->map.cursor != 0);
        return EXIT_DONE;
}

enum exit_status map_load(struct observer *observer, uint64_t size_bytes, uint64_t cell_bytes,
        bool by_client, struct map *out) {
        struct map map;
        if (map_begin(&map, size_bytes, cell_bytes) != 0)
                return complain(EXIT_REFUSED, "out of memory; free some and try again");
        struct request request = {.kind = REQUEST_MAP,
                .map = {.cell_bytes = cell_bytes,
                        .cells = (uint32_t)map.count,
                        .by_client = by_client}};
        enum exit_status status = map_ask(observer, &request, &map);
        if (status != EXIT_DONE) {
                map_deinit(&map);
                return status;
        }
        map_end(&map);
        *out = map;
        return EXIT_DONE;
}

/* ---- Whose ---- */

struct map_share *map_sessions(const struct map *map, size_t *count) {
        struct map_share *sums = NULL;
        *count = 0;
        if (map->share_count > 0)
                sums = calloc(map->share_count, sizeof(*sums));
        if (!sums)
                return NULL;
        for (size_t i = 0; i < map->share_count; i++) {
                sums[i] = map->shares[i];
                sums[i].cell = 0;
        }
        *count = shares_merge(sums, map->share_count);
        qsort(sums, *count, sizeof(*sums), share_compare_bytes);
        return sums;
}

const char *map_holder(const struct roster *roster, uint32_t session, char text[MAP_HOLDER_TEXT]) {
        const char *name = roster_name(roster, session);
        if (session == 0)
                snprintf(text, MAP_HOLDER_TEXT, "keys");
        else if (session == SESSION_OPERATOR)
                snprintf(text, MAP_HOLDER_TEXT, "operator");
        else
                snprintf(text, MAP_HOLDER_TEXT, "%.60s#%" PRIu32, name ? name : "", session);
        return text;
}
