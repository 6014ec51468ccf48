/* The pool's address space as cells: how much of each is held, cached and free, and by whom. What the daemon tells part by part
 * is added up here. Not thread-safe. */
#pragma once

#include "ask.h"
#include "roster.h"

#define MAP_CELLS_MAX MESSAGE_CELLS_MAX

/* So much of a cell is a session's; 0: a key's alone. */
struct map_share {
        uint32_t cell, session;
        uint64_t bytes;
};

struct map_cell {
        uint64_t offset, length;
        uint64_t held, cached, free;    /* bytes; together the length */
        const struct map_share *shares; /* the largest first; none unless asked for */
        size_t share_count;
};

struct map {
        uint64_t size_bytes, cell_bytes;
        struct map_cell *cells; /* owned */
        size_t count;
        struct map_share *shares; /* owned; of all cells */
        size_t share_count, share_room;
};

/* Bytes of a cell, a power of two times the page size, so that there are max cells at most. */
uint64_t map_cell_bytes(uint64_t size_bytes, uint64_t page_bytes, size_t max);

/* The same as close to max cells as whole pages allow. */
uint64_t map_cell_bytes_near(uint64_t size_bytes, uint64_t page_bytes, size_t max);

/* Asks for a whole pool of this size; it has MAP_CELLS_MAX cells at most. EXIT_DONE: the caller ends with map_deinit. */
enum exit_status map_load(struct observer *observer, uint64_t size_bytes, uint64_t cell_bytes,
        bool by_client, struct map *out);
void map_deinit(struct map *map);

/* The parts of map_load: an empty map, a reply added to it (-EPROTO: it cannot be one to this map; -ENOMEM), and the end of it. */
int map_begin(struct map *map, uint64_t size_bytes, uint64_t cell_bytes);
int map_add(struct map *map, const struct reply_map *reply);
void map_end(struct map *map);

/* What all sessions have, the largest first; cell is 0. *count of them; NULL: out of memory, or none. The caller frees. */
struct map_share *map_sessions(const struct map *map, size_t *count);

/* Who that is, for people; the roster must be sorted by id. Fills text and returns it. */
#define MAP_HOLDER_TEXT 96
const char *map_holder(const struct roster *roster, uint32_t session, char text[MAP_HOLDER_TEXT]);
