/* Deep equality of messages. A missing text equals an empty one; a double equals itself. */
#include "samples.h"

#include <math.h>
#include <string.h>

static bool texts_equal(const char *a, const char *b) {
        return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool tokens_equal(const uint8_t *a, const uint8_t *b) {
        if (!a || !b)
                return !a && !b;
        return memcmp(a, b, MESSAGE_TOKEN_BYTES) == 0;
}

static bool doubles_equal(double a, double b) {
        return !(a < b) && !(a > b) && !isnan(a) == !isnan(b);
}

static bool range_equal(const struct message_range *a, const struct message_range *b) {
        return a->offset == b->offset && a->length == b->length && a->generation == b->generation;
}

static bool ranges_equal(const struct message_ranges *a, const struct message_ranges *b) {
        if (a->count != b->count)
                return false;
        return a->count == 0 || (memcmp(a->places, b->places, a->count * sizeof(*a->places)) == 0 &&
                                        memcmp(a->generations, b->generations,
                                                a->count * sizeof(*a->generations)) == 0);
}

static bool hello_equal(const struct request_hello *a, const struct request_hello *b) {
        return a->version == b->version && a->features == b->features &&
               texts_equal(a->pool, b->pool) && texts_equal(a->name, b->name) &&
               a->access == b->access && a->session == b->session &&
               tokens_equal(a->token, b->token) && a->cache_bytes == b->cache_bytes;
}

static bool key_equal(const struct request_key *a, const struct request_key *b) {
        return texts_equal(a->key, b->key) && range_equal(&a->range, &b->range);
}

static bool list_equal(const struct request_list *a, const struct request_list *b) {
        return a->session == b->session && a->cursor == b->cursor && a->limit == b->limit;
}

bool requests_equal(const struct request *a, const struct request *b) {
        if (a->id != b->id || a->kind != b->kind)
                return false;
        switch (a->kind) {
        case REQUEST_HELLO:
                return hello_equal(&a->hello, &b->hello);
        case REQUEST_ALLOC:
                return a->alloc.length == b->alloc.length && a->alloc.count == b->alloc.count &&
                       a->alloc.wait == b->alloc.wait &&
                       a->alloc.timeout_ms == b->alloc.timeout_ms &&
                       a->alloc.waited_ms == b->alloc.waited_ms && a->alloc.spare == b->alloc.spare;
        case REQUEST_RELEASE:
                return ranges_equal(&a->release.ranges, &b->release.ranges) &&
                       a->release.one_way == b->release.one_way;
        case REQUEST_ATTACH:
                return range_equal(&a->attach.range, &b->attach.range);
        case REQUEST_GIVE:
                return ranges_equal(&a->give.ranges, &b->give.ranges) &&
                       a->give.peer == b->give.peer;
        case REQUEST_LOOKUP:
                return key_equal(&a->lookup, &b->lookup);
        case REQUEST_PUBLISH:
                return key_equal(&a->publish, &b->publish);
        case REQUEST_UNPUBLISH:
                return key_equal(&a->unpublish, &b->unpublish);
        case REQUEST_FIND:
                return texts_equal(a->find.name, b->find.name);
        case REQUEST_CLIENTS:
                return list_equal(&a->clients, &b->clients);
        case REQUEST_HOLDS:
                return list_equal(&a->holds, &b->holds);
        case REQUEST_HOLD:
                return a->hold.length == b->hold.length;
        case REQUEST_QUOTA:
                return a->quota.limit == b->quota.limit && a->quota.value == b->quota.value &&
                       a->quota.cursor == b->quota.cursor;
        case REQUEST_UNCACHE:
                return a->uncache.order == b->uncache.order && a->uncache.keep == b->uncache.keep;
        case REQUEST_KICK:
                return a->kick.session == b->kick.session;
        case REQUEST_DRAIN:
                return a->drain.off == b->drain.off;
        case REQUEST_GROW:
                return a->grow.size_bytes == b->grow.size_bytes;
        case REQUEST_MAP:
                return a->map.offset == b->map.offset && a->map.cell_bytes == b->map.cell_bytes &&
                       a->map.cells == b->map.cells && a->map.by_client == b->map.by_client &&
                       a->map.cursor == b->map.cursor;
        case REQUEST_METRICS:
                return a->metrics.cursor == b->metrics.cursor &&
                       a->metrics.format == b->metrics.format;
        case REQUEST_UNHOLD:
                return a->unhold.offset == b->unhold.offset;
        default:
                return true;
        }
}

static bool welcome_equal(const struct reply_welcome *a, const struct reply_welcome *b) {
        if (a->descriptor_count != b->descriptor_count)
                return false;
        for (size_t i = 0; i < a->descriptor_count; i++)
                if (a->descriptors[i] != b->descriptors[i])
                        return false;
        return a->version == b->version && a->features == b->features && a->session == b->session &&
               tokens_equal(a->token, b->token) && a->page_bytes == b->page_bytes &&
               a->size_bytes == b->size_bytes && a->max_size_bytes == b->max_size_bytes &&
               a->resumed == b->resumed && a->done.request == b->done.request &&
               a->done.ranges == b->done.ranges && a->done.place == b->done.place &&
               a->done.generation == b->done.generation && a->done.use == b->done.use &&
               a->granted_ranges == b->granted_ranges;
}

static bool latency_equal(const struct reply_latency *a, const struct reply_latency *b) {
        return doubles_equal(a->p50, b->p50) && doubles_equal(a->p99, b->p99) &&
               doubles_equal(a->p999, b->p999) && doubles_equal(a->max, b->max);
}

static bool order_equal(const struct reply_order *a, const struct reply_order *b) {
        return a->order == b->order && a->block_bytes == b->block_bytes &&
               a->free_blocks == b->free_blocks && a->held_blocks == b->held_blocks &&
               doubles_equal(a->unusable_index, b->unusable_index) &&
               doubles_equal(a->fragmentation_index, b->fragmentation_index);
}

static bool stats_equal(const struct reply_stats *a, const struct reply_stats *b) {
        const size_t figures = offsetof(struct reply_stats, page_bytes);
        const size_t figures_end = offsetof(struct reply_stats, alloc);
        if (a->order_count != b->order_count || !texts_equal(a->pool, b->pool) ||
                !texts_equal(a->backing, b->backing) || !latency_equal(&a->alloc, &b->alloc) ||
                !latency_equal(&a->free, &b->free) ||
                memcmp((const char *)a + figures, (const char *)b + figures,
                        figures_end - figures) != 0)
                return false;
        for (size_t i = 0; i < a->order_count; i++)
                if (!order_equal(&a->orders[i], &b->orders[i]))
                        return false;
        return true;
}

static bool client_equal(const struct reply_client *a, const struct reply_client *b) {
        return a->session == b->session && texts_equal(a->name, b->name) && a->pid == b->pid &&
               a->uid == b->uid && a->connected == b->connected && a->read_only == b->read_only &&
               a->held_bytes == b->held_bytes && a->held_ranges == b->held_ranges &&
               a->cached_bytes == b->cached_bytes && a->waiting == b->waiting &&
               a->connected_seconds == b->connected_seconds;
}

static bool clients_equal(const struct reply_clients *a, const struct reply_clients *b) {
        if (a->count != b->count || a->next_cursor != b->next_cursor)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (!client_equal(&a->entries[i], &b->entries[i]))
                        return false;
        return true;
}

static bool holds_equal(const struct reply_holds *a, const struct reply_holds *b) {
        if (a->count != b->count || a->next_cursor != b->next_cursor)
                return false;
        for (size_t i = 0; i < a->count; i++) {
                const struct reply_hold *x = &a->entries[i], *y = &b->entries[i];
                if (!range_equal(&x->range, &y->range) || x->session != y->session ||
                        x->age_seconds != y->age_seconds || x->given != y->given ||
                        !texts_equal(x->key, y->key))
                        return false;
        }
        return true;
}

static bool words_equal(const void *a, const void *b, size_t bytes) {
        return bytes == 0 || memcmp(a, b, bytes) == 0;
}

static bool map_equal(const struct reply_map *a, const struct reply_map *b) {
        return a->size_bytes == b->size_bytes && a->next_cursor == b->next_cursor &&
               a->first == b->first && a->granted_count == b->granted_count &&
               a->cached_count == b->cached_count && a->share_count == b->share_count &&
               words_equal(a->granted, b->granted, a->granted_count * sizeof(uint64_t)) &&
               words_equal(a->cached, b->cached, a->cached_count * sizeof(uint64_t)) &&
               words_equal(a->share_cells, b->share_cells, a->share_count * sizeof(uint32_t)) &&
               words_equal(
                       a->share_sessions, b->share_sessions, a->share_count * sizeof(uint32_t)) &&
               words_equal(a->share_bytes, b->share_bytes, a->share_count * sizeof(uint64_t));
}

static bool check_equal(const struct reply_check *a, const struct reply_check *b) {
        return memcmp(a, b, offsetof(struct reply_check, fault)) == 0 &&
               texts_equal(a->fault, b->fault);
}

static bool quotas_equal(const struct reply_quotas *a, const struct reply_quotas *b) {
        if (a->count != b->count || a->next_cursor != b->next_cursor ||
                a->limit_count != b->limit_count ||
                (a->limit_count > 0 &&
                        memcmp(a->limits, b->limits, a->limit_count * sizeof(*a->limits)) != 0))
                return false;
        for (size_t i = 0; i < a->count; i++) {
                const struct reply_user *x = &a->entries[i], *y = &b->entries[i];
                if (x->uid != y->uid || x->privileged != y->privileged || x->bytes != y->bytes ||
                        x->ranges != y->ranges || x->clients != y->clients || x->keys != y->keys ||
                        x->holds != y->holds || x->waits != y->waits ||
                        x->connections != y->connections || x->buffers != y->buffers)
                        return false;
        }
        return true;
}

bool replies_equal(const struct reply *a, const struct reply *b) {
        if (a->id != b->id || a->kind != b->kind)
                return false;
        switch (a->kind) {
        case REPLY_REFUSED:
                return a->refused.status == b->refused.status &&
                       texts_equal(a->refused.detail, b->refused.detail);
        case REPLY_RANGES:
                return ranges_equal(&a->ranges, &b->ranges);
        case REPLY_WELCOME:
                return welcome_equal(&a->welcome, &b->welcome);
        case REPLY_PEER:
                return a->peer == b->peer;
        case REPLY_STATS:
                return stats_equal(&a->stats, &b->stats);
        case REPLY_CLIENTS:
                return clients_equal(&a->clients, &b->clients);
        case REPLY_HOLDS:
                return holds_equal(&a->holds, &b->holds);
        case REPLY_RANGE:
                return a->range.offset == b->range.offset && a->range.length == b->range.length &&
                       a->range.generation == b->range.generation;
        case REPLY_MAP:
                return map_equal(&a->map, &b->map);
        case REPLY_TEXT:
                return a->text.next_cursor == b->text.next_cursor &&
                       texts_equal(a->text.text, b->text.text);
        case REPLY_QUOTAS:
                return quotas_equal(&a->quotas, &b->quotas);
        case REPLY_CHECK:
                return check_equal(&a->check, &b->check);
        case REPLY_RETURNED:
                return a->returned.count == b->returned.count &&
                       a->returned.bytes == b->returned.bytes &&
                       a->returned.microseconds == b->returned.microseconds;
        default:
                return true;
        }
}
