/* Requests between plain C and the wire. One table row per kind: the type of its body, how it is
 * read and how it is written. Stateless. */
#include "message.h"

#include <errno.h>

#include "body.h"
#include "buddyd.pb-c.h"
#include "envelope.h"
#include "frame.h"
#include "shortcut.h"

#define X(name, field, number)                                                                     \
        _Static_assert((int)BUDDYD__REQUEST__BODY_##name == (int)REQUEST_##name,                   \
                "numbers of buddyd.proto and message.h differ");
REQUEST_LIST(X)
#undef X

/* A body on its way to the wire; points into the request. */
union request_body {
        ProtobufCMessage base;
        Buddyd__Empty empty;
        Buddyd__Hello hello;
        Buddyd__Alloc alloc;
        Buddyd__Release release;
        Buddyd__Attach attach;
        Buddyd__Give give;
        Buddyd__Key key;
        Buddyd__Find find;
        Buddyd__List list;
        Buddyd__Hold hold;
        Buddyd__Unhold unhold;
        Buddyd__Uncache uncache;
        Buddyd__Kick kick;
        Buddyd__Drain drain;
        Buddyd__Grow grow;
        Buddyd__Metrics metrics;
        Buddyd__Map map;
        Buddyd__Quota quota;
};

struct request_row {
        const char *name;
        const ProtobufCMessageDescriptor *descriptor;
        int (*read)(struct body_memory *memory, const ProtobufCMessage *body, struct request *out);
        int (*write)(const struct request *request, union request_body *out);
};

static int empty_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        (void)body;
        (void)out;
        return 0;
}

static int empty_write(const struct request *request, union request_body *out) {
        (void)request;
        out->empty = (Buddyd__Empty)BUDDYD__EMPTY__INIT;
        return 0;
}

static int hello_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        const Buddyd__Hello *wire = (const Buddyd__Hello *)body;
        struct request_hello *hello = &out->hello;
        if (wire->access > ACCESS_OBSERVER)
                return -EBADMSG;
        *hello = (struct request_hello){
                .version = wire->version,
                .features = wire->features,
                .access = (enum hello_access)wire->access,
                .session = wire->session,
                .cache_bytes = wire->cache_bytes,
        };
        int error = body_token(&wire->token, &hello->token);
        if (error == 0)
                error = body_text(memory, &wire->pool, MESSAGE_NAME_MAX, &hello->pool);
        if (error == 0)
                error = body_text(memory, &wire->name, MESSAGE_NAME_MAX, &hello->name);
        return error;
}

static int hello_write(const struct request *request, union request_body *out) {
        const struct request_hello *hello = &request->hello;
        Buddyd__Hello *wire = &out->hello;
        *wire = (Buddyd__Hello)BUDDYD__HELLO__INIT;
        wire->version = hello->version;
        wire->features = hello->features;
        wire->access = hello->access;
        wire->session = hello->session;
        wire->cache_bytes = hello->cache_bytes;
        body_put_token(hello->token, &wire->token);
        int error = body_put_text(hello->pool, MESSAGE_NAME_MAX, &wire->pool);
        return error ? error : body_put_text(hello->name, MESSAGE_NAME_MAX, &wire->name);
}

static int alloc_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__Alloc *wire = (const Buddyd__Alloc *)body;
        out->alloc = (struct request_alloc){
                .length = wire->length,
                .count = wire->count,
                .wait = wire->wait,
                .timeout_ms = wire->timeout_ms,
                .waited_ms = wire->waited_ms,
                .spare = wire->spare,
        };
        return 0;
}

static int alloc_write(const struct request *request, union request_body *out) {
        out->alloc = (Buddyd__Alloc)BUDDYD__ALLOC__INIT;
        out->alloc.length = request->alloc.length;
        out->alloc.count = request->alloc.count;
        out->alloc.wait = request->alloc.wait;
        out->alloc.timeout_ms = request->alloc.timeout_ms;
        out->alloc.waited_ms = request->alloc.waited_ms;
        out->alloc.spare = request->alloc.spare;
        return 0;
}

static int release_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__Release *wire = (const Buddyd__Release *)body;
        out->release.one_way = wire->one_way;
        return body_ranges(wire->places, wire->n_places, wire->generations, wire->n_generations,
                &out->release.ranges);
}

static int release_write(const struct request *request, union request_body *out) {
        const struct message_ranges *ranges = &request->release.ranges;
        out->release = (Buddyd__Release)BUDDYD__RELEASE__INIT;
        out->release.one_way = request->release.one_way;
        out->release.n_places = out->release.n_generations = ranges->count;
        out->release.places = (uint64_t *)(uintptr_t)ranges->places;
        out->release.generations = (uint32_t *)(uintptr_t)ranges->generations;
        return ranges->count > MESSAGE_BATCH_MAX ? -EMSGSIZE : 0;
}

static int attach_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__Attach *wire = (const Buddyd__Attach *)body;
        out->attach.range = (struct message_range){
                .offset = wire->offset, .length = wire->length, .generation = wire->generation};
        return 0;
}

static int attach_write(const struct request *request, union request_body *out) {
        const struct message_range *range = &request->attach.range;
        out->attach = (Buddyd__Attach)BUDDYD__ATTACH__INIT;
        out->attach.offset = range->offset;
        out->attach.length = range->length;
        out->attach.generation = range->generation;
        return 0;
}

static int give_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__Give *wire = (const Buddyd__Give *)body;
        out->give.peer = wire->peer;
        return body_ranges(wire->places, wire->n_places, wire->generations, wire->n_generations,
                &out->give.ranges);
}

static int give_write(const struct request *request, union request_body *out) {
        const struct message_ranges *ranges = &request->give.ranges;
        out->give = (Buddyd__Give)BUDDYD__GIVE__INIT;
        out->give.peer = request->give.peer;
        out->give.n_places = out->give.n_generations = ranges->count;
        out->give.places = (uint64_t *)(uintptr_t)ranges->places;
        out->give.generations = (uint32_t *)(uintptr_t)ranges->generations;
        return ranges->count > MESSAGE_BATCH_MAX ? -EMSGSIZE : 0;
}

/* Lookup, publish and unpublish share one member type, so any of them stands for all three. */
static int key_read(struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        const Buddyd__Key *wire = (const Buddyd__Key *)body;
        out->lookup.range = (struct message_range){
                .offset = wire->offset, .length = wire->length, .generation = wire->generation};
        return body_text(memory, &wire->key, MESSAGE_NAME_MAX, &out->lookup.key);
}

static int key_write(const struct request *request, union request_body *out) {
        const struct request_key *key = &request->lookup;
        out->key = (Buddyd__Key)BUDDYD__KEY__INIT;
        out->key.offset = key->range.offset;
        out->key.length = key->range.length;
        out->key.generation = key->range.generation;
        return body_put_text(key->key, MESSAGE_NAME_MAX, &out->key.key);
}

static int find_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        const Buddyd__Find *wire = (const Buddyd__Find *)body;
        return body_text(memory, &wire->name, MESSAGE_NAME_MAX, &out->find.name);
}

static int find_write(const struct request *request, union request_body *out) {
        out->find = (Buddyd__Find)BUDDYD__FIND__INIT;
        return body_put_text(request->find.name, MESSAGE_NAME_MAX, &out->find.name);
}

/* Clients and holds share one member type, too. */
static int list_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__List *wire = (const Buddyd__List *)body;
        out->clients = (struct request_list){
                .session = wire->session, .cursor = wire->cursor, .limit = wire->limit};
        return 0;
}

static int list_write(const struct request *request, union request_body *out) {
        out->list = (Buddyd__List)BUDDYD__LIST__INIT;
        out->list.session = request->clients.session;
        out->list.cursor = request->clients.cursor;
        out->list.limit = request->clients.limit;
        return 0;
}

static int hold_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        out->hold.length = ((const Buddyd__Hold *)body)->length;
        return 0;
}

static int hold_write(const struct request *request, union request_body *out) {
        out->hold = (Buddyd__Hold)BUDDYD__HOLD__INIT;
        out->hold.length = request->hold.length;
        return 0;
}

static int unhold_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        out->unhold.offset = ((const Buddyd__Unhold *)body)->offset;
        return 0;
}

static int unhold_write(const struct request *request, union request_body *out) {
        out->unhold = (Buddyd__Unhold)BUDDYD__UNHOLD__INIT;
        out->unhold.offset = request->unhold.offset;
        return 0;
}

static int uncache_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__Uncache *wire = (const Buddyd__Uncache *)body;
        out->uncache = (struct request_uncache){.order = wire->order, .keep = wire->keep};
        return 0;
}

static int uncache_write(const struct request *request, union request_body *out) {
        out->uncache = (Buddyd__Uncache)BUDDYD__UNCACHE__INIT;
        out->uncache.order = request->uncache.order;
        out->uncache.keep = request->uncache.keep;
        return 0;
}

static int kick_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        out->kick.session = ((const Buddyd__Kick *)body)->session;
        return 0;
}

static int kick_write(const struct request *request, union request_body *out) {
        out->kick = (Buddyd__Kick)BUDDYD__KICK__INIT;
        out->kick.session = request->kick.session;
        return 0;
}

static int drain_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        out->drain.off = ((const Buddyd__Drain *)body)->off;
        return 0;
}

static int drain_write(const struct request *request, union request_body *out) {
        out->drain = (Buddyd__Drain)BUDDYD__DRAIN__INIT;
        out->drain.off = request->drain.off;
        return 0;
}

static int grow_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        out->grow.size_bytes = ((const Buddyd__Grow *)body)->size_bytes;
        return 0;
}

static int grow_write(const struct request *request, union request_body *out) {
        out->grow = (Buddyd__Grow)BUDDYD__GROW__INIT;
        out->grow.size_bytes = request->grow.size_bytes;
        return 0;
}

static int map_read(struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__Map *wire = (const Buddyd__Map *)body;
        out->map = (struct request_map){
                .offset = wire->offset,
                .cell_bytes = wire->cell_bytes,
                .cells = wire->cells,
                .by_client = wire->by_client,
                .cursor = wire->cursor,
        };
        return 0;
}

static int map_write(const struct request *request, union request_body *out) {
        out->map = (Buddyd__Map)BUDDYD__MAP__INIT;
        out->map.offset = request->map.offset;
        out->map.cell_bytes = request->map.cell_bytes;
        out->map.cells = request->map.cells;
        out->map.by_client = request->map.by_client;
        out->map.cursor = request->map.cursor;
        return 0;
}

static int metrics_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        (void)memory;
        const Buddyd__Metrics *wire = (const Buddyd__Metrics *)body;
        out->metrics = (struct request_metrics){.cursor = wire->cursor, .format = wire->format};
        return 0;
}

static int metrics_write(const struct request *request, union request_body *out) {
        out->metrics = (Buddyd__Metrics)BUDDYD__METRICS__INIT;
        out->metrics.cursor = request->metrics.cursor;
        out->metrics.format = request->metrics.format;
        return 0;
}

static int quota_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct request *out) {
        const Buddyd__Quota *wire = (const Buddyd__Quota *)body;
        (void)memory;
        out->quota = (struct request_quota){
                .limit = wire->limit, .value = wire->value, .cursor = wire->cursor};
        return 0;
}

static int quota_write(const struct request *request, union request_body *out) {
        out->quota = (Buddyd__Quota)BUDDYD__QUOTA__INIT;
        out->quota.limit = request->quota.limit;
        out->quota.value = request->quota.value;
        out->quota.cursor = request->quota.cursor;
        return 0;
}

static const struct request_row rows[REQUEST_KIND_END] = {
        [REQUEST_HELLO] = {"HELLO", &buddyd__hello__descriptor, hello_read, hello_write},
        [REQUEST_ALLOC] = {"ALLOC", &buddyd__alloc__descriptor, alloc_read, alloc_write},
        [REQUEST_RELEASE] = {"RELEASE", &buddyd__release__descriptor, release_read, release_write},
        [REQUEST_ATTACH] = {"ATTACH", &buddyd__attach__descriptor, attach_read, attach_write},
        [REQUEST_GIVE] = {"GIVE", &buddyd__give__descriptor, give_read, give_write},
        [REQUEST_LOOKUP] = {"LOOKUP", &buddyd__key__descriptor, key_read, key_write},
        [REQUEST_PUBLISH] = {"PUBLISH", &buddyd__key__descriptor, key_read, key_write},
        [REQUEST_UNPUBLISH] = {"UNPUBLISH", &buddyd__key__descriptor, key_read, key_write},
        [REQUEST_FIND] = {"FIND", &buddyd__find__descriptor, find_read, find_write},
        [REQUEST_PING] = {"PING", &buddyd__empty__descriptor, empty_read, empty_write},
        [REQUEST_GOODBYE] = {"GOODBYE", &buddyd__empty__descriptor, empty_read, empty_write},
        [REQUEST_STATS] = {"STATS", &buddyd__empty__descriptor, empty_read, empty_write},
        [REQUEST_CLIENTS] = {"CLIENTS", &buddyd__list__descriptor, list_read, list_write},
        [REQUEST_HOLDS] = {"HOLDS", &buddyd__list__descriptor, list_read, list_write},
        [REQUEST_CHECK] = {"CHECK", &buddyd__empty__descriptor, empty_read, empty_write},
        [REQUEST_HOLD] = {"HOLD", &buddyd__hold__descriptor, hold_read, hold_write},
        [REQUEST_UNHOLD] = {"UNHOLD", &buddyd__unhold__descriptor, unhold_read, unhold_write},
        [REQUEST_CACHE] = {"CACHE", &buddyd__empty__descriptor, empty_read, empty_write},
        [REQUEST_UNCACHE] = {"UNCACHE", &buddyd__uncache__descriptor, uncache_read, uncache_write},
        [REQUEST_KICK] = {"KICK", &buddyd__kick__descriptor, kick_read, kick_write},
        [REQUEST_DRAIN] = {"DRAIN", &buddyd__drain__descriptor, drain_read, drain_write},
        [REQUEST_TRIM] = {"TRIM", &buddyd__empty__descriptor, empty_read, empty_write},
        [REQUEST_GROW] = {"GROW", &buddyd__grow__descriptor, grow_read, grow_write},
        [REQUEST_MAP] = {"MAP", &buddyd__map__descriptor, map_read, map_write},
        [REQUEST_METRICS] = {"METRICS", &buddyd__metrics__descriptor, metrics_read, metrics_write},
        [REQUEST_QUOTA] = {"QUOTA", &buddyd__quota__descriptor, quota_read, quota_write},
};

static const struct request_row *row_of(unsigned kind) {
        return kind < REQUEST_KIND_END && rows[kind].name ? &rows[kind] : NULL;
}

const char *request_kind_name(unsigned kind) {
        const struct request_row *row = row_of(kind);
        return row ? row->name : "unknown";
}

int request_decode_protobuf(
        struct arena *arena, const uint8_t *message, size_t length, struct request *out) {
        struct envelope envelope;
        if (envelope_read(message, length, REQUEST_KIND_END, &envelope) < 0)
                return -EBADMSG;
        struct request request;
        request.id = envelope.id;
        request.kind = (enum request_kind)envelope.kind;
        const struct request_row *row = row_of(envelope.kind);
        if (row) {
                struct body_memory memory = {.arena = arena};
                ProtobufCMessage *body;
                int error = body_unpack(
                        &memory, row->descriptor, envelope.body, envelope.body_bytes, &body);
                if (error == 0)
                        error = row->read(&memory, body, &request);
                if (error < 0)
                        return error;
        }
        *out = request;
        return 0;
}

int request_decode(
        struct arena *arena, const uint8_t *message, size_t length, struct request *out) {
        return shortcut_read_request(arena, message, length, out)
                       ? 0
                       : request_decode_protobuf(arena, message, length, out);
}

/* Message bytes and the body that makes them, or -EMSGSIZE. */
static ptrdiff_t request_measure(
        const struct request *request, union request_body *body, size_t *body_bytes) {
        const struct request_row *row = row_of(request->kind);
        if (!row || row->write(request, body) < 0)
                return -EMSGSIZE;
        *body_bytes = protobuf_c_message_get_packed_size(&body->base);
        size_t bytes = envelope_bytes(request->id, request->kind, *body_bytes);
        return bytes > FRAME_REQUEST_MAX ? -EMSGSIZE : (ptrdiff_t)bytes;
}

size_t request_frame_bytes(const struct request *request) {
        union request_body body;
        size_t body_bytes;
        ptrdiff_t bytes = request_measure(request, &body, &body_bytes);
        return bytes < 0 ? 0 : FRAME_HEADER_BYTES + (size_t)bytes;
}

ptrdiff_t request_encode_protobuf(const struct request *request, uint8_t *frame, size_t size) {
        union request_body body;
        size_t body_bytes;
        ptrdiff_t bytes = request_measure(request, &body, &body_bytes);
        if (bytes < 0 || size < FRAME_HEADER_BYTES + (size_t)bytes)
                return -EMSGSIZE;
        frame_header(frame, (size_t)bytes);
        uint8_t *at =
                envelope_write(frame + FRAME_HEADER_BYTES, request->id, request->kind, body_bytes);
        protobuf_c_message_pack(&body.base, at);
        return (ptrdiff_t)FRAME_HEADER_BYTES + bytes;
}

ptrdiff_t request_encode(const struct request *request, uint8_t *frame, size_t size) {
        size_t bytes = shortcut_write_request(request, frame, size);
        return bytes > 0 ? (ptrdiff_t)bytes : request_encode_protobuf(request, frame, size);
}
