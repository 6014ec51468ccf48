/* map: the pool as cells. Anybody who may connect may ask, so a call looks at a bounded part of the pool and says where the
 * next one goes on; what comes is to be added up, cell by cell. */
#include "handle.h"

#include <inttypes.h>
#include <string.h>

#include "worker.h"

/* What the request means in pages. */
static enum status map_cells(struct call *call, struct pool_map_cells *out) {
        const struct request_map *map = &call->request->map;
        uint64_t page = call->served->page_bytes, pages_max = pool_pages_max(call->served->pool);
        if (map->cells == 0 || map->cells > MESSAGE_CELLS_MAX)
                return call_refuse(call, STATUS_INVALID, "%u cells; a map has 1 to %u", map->cells,
                        MESSAGE_CELLS_MAX);
        if (map->offset % page != 0 || map->cell_bytes == 0 || map->cell_bytes % page != 0)
                return call_refuse(call, STATUS_INVALID,
                        "cells of %" PRIu64 " bytes from offset %" PRIu64
                        "; both must be multiples of %" PRIu64,
                        map->cell_bytes, map->offset, page);
        *out = (struct pool_map_cells){
                .first = map->offset / page,
                .cell_pages = map->cell_bytes / page,
                .count = map->cells,
        };
        if (out->first >= pages_max || out->cell_pages > pages_max)
                return call_refuse(call, STATUS_INVALID,
                        "cells of %" PRIu64 " bytes from offset %" PRIu64
                        " are beyond what this pool can grow to",
                        map->cell_bytes, map->offset);
        if (map->cursor != 0 && (map->cursor <= out->first || map->cursor > pages_max))
                return call_refuse(call, STATUS_INVALID, "no such cursor");
        return STATUS_OK;
}

/* ---- Cached ---- */

struct cached_cells {
        const struct pool_map_cells *cells;
        uint64_t page_bytes;
        uint64_t *bytes;
};

static void cached_add(void *context, struct block block) {
        const struct cached_cells *cached = context;
        const struct pool_map_cells *cells = cached->cells;
        uint64_t end = cells->first + cells->count * cells->cell_pages;
        uint64_t page = block.page > cells->first ? block.page : cells->first;
        uint64_t last = block.page + order_pages(block.order);
        while (page < last && page < end) {
                size_t cell = (size_t)((page - cells->first) / cells->cell_pages);
                uint64_t stop = cells->first + (cell + 1) * cells->cell_pages;
                stop = stop < last ? stop : last;
                cached->bytes[cell] += (stop - page) * cached->page_bytes;
                page = stop;
        }
}

static void map_cached(
        struct served_pool *served, const struct pool_map_cells *cells, uint64_t *bytes) {
        struct cached_cells cached = {cells, served->page_bytes, bytes};
        memset(bytes, 0, cells->count * sizeof(*bytes));
        for (uint32_t session = 0; (session = pool_session_next(served->pool, session)) != 0;)
                cache_each(served, session, cached_add, &cached);
}

/* ---- Granted, or whose it is ---- */

static bool map_granted(struct call *call, const struct pool_map_cells *cells, uint64_t *cursor) {
        struct reply_map *reply = &call->reply.map;
        uint64_t *granted = call->worker->scratch->cell_granted;
        uint64_t began = *cursor;
        memset(granted, 0, cells->count * sizeof(*granted));
        bool ended = pool_map_granted(call->served->pool, cells, cursor, granted);
        if (*cursor == began)
                return ended;
        size_t first = (size_t)((began - cells->first) / cells->cell_pages);
        size_t last = (size_t)((*cursor - 1 - cells->first) / cells->cell_pages);
        for (size_t i = first; i <= last; i++)
                granted[i] *= call->served->page_bytes;
        reply->first = (uint32_t)first;
        reply->granted = granted + first;
        reply->granted_count = last - first + 1;
        return ended;
}

static bool map_shares(struct call *call, const struct pool_map_cells *cells, uint64_t *cursor) {
        struct reply_map *reply = &call->reply.map;
        struct worker_scratch *scratch = call->worker->scratch;
        bool ended = pool_map_shares(call->served->pool, cells, cursor, scratch->shares,
                MESSAGE_CELLS_MAX, &reply->share_count);
        for (size_t i = 0; i < reply->share_count; i++) {
                scratch->share_cells[i] = scratch->shares[i].cell;
                scratch->share_sessions[i] = scratch->shares[i].session;
                scratch->share_bytes[i] = scratch->shares[i].pages * call->served->page_bytes;
        }
        reply->share_cells = scratch->share_cells;
        reply->share_sessions = scratch->share_sessions;
        reply->share_bytes = scratch->share_bytes;
        return ended;
}

enum status handle_map(struct call *call) {
        const struct request_map *map = &call->request->map;
        struct served_pool *served = call->served;
        struct pool_map_cells cells;
        enum status status = map_cells(call, &cells);
        if (status != STATUS_OK)
                return status;
        uint64_t cursor = map->cursor != 0 ? map->cursor : cells.first;
        struct reply_map *reply = &call->reply.map;
        call->reply.kind = REPLY_MAP;
        *reply = (struct reply_map){.size_bytes = pool_pages(served->pool) * served->page_bytes};
        bool ended = (map->by_client ? map_shares : map_granted)(call, &cells, &cursor);
        reply->next_cursor = ended ? 0 : cursor;
        if (map->cursor == 0) {
                map_cached(served, &cells, call->worker->scratch->cell_cached);
                reply->cached = call->worker->scratch->cell_cached;
                reply->cached_count = cells.count;
        }
        return STATUS_OK;
}
