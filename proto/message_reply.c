/* Replies between plain C and the wire. One table row per kind: the type of its body, how it is read
 * and how it is written. A listing is written in pieces, since the concatenation of two messages of
 * one type is their union: so encoding needs no memory but the stack. Stateless. */
#include "message.h"

#include <errno.h>

#include "body.h"
#include "buddyd.pb-c.h"
#include "envelope.h"
#include "frame.h"
#include "message_listing.h"
#include "shortcut.h"

#define X(name, field, number)                                                                     \
        _Static_assert((int)BUDDYD__REPLY__BODY_##name == (int)REPLY_##name,                       \
                "numbers of buddyd.proto and message.h differ");
REPLY_LIST(X)
#undef X

#define REPLY_KIND_END (REPLY_QUOTAS + 1)

/* A body, or a piece of one, on its way to the wire; points into the reply and into itself. */
union reply_body {
        ProtobufCMessage base;
        Buddyd__Empty empty;
        Buddyd__Refused refused;
        Buddyd__Ranges ranges;
        Buddyd__Welcome welcome;
        Buddyd__Peer peer;
        struct stats_body stats;
        Buddyd__Check check;
        Buddyd__Range range;
        Buddyd__Returned returned;
        Buddyd__Cells map;
        Buddyd__Text text;
        struct clients_body clients;
        struct holds_body holds;
        struct quotas_body quotas;
};

struct reply_row {
        const ProtobufCMessageDescriptor *descriptor;
        int (*read)(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out);
        int (*write)(const struct reply *reply, size_t first, union reply_body *out);
};

static int refused_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        const Buddyd__Refused *wire = (const Buddyd__Refused *)body;
        out->refused.status = status_from_wire(wire->status);
        return body_text(memory, &wire->detail, MESSAGE_TEXT_MAX, &out->refused.detail);
}

static int refused_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        out->refused = (Buddyd__Refused)BUDDYD__REFUSED__INIT;
        out->refused.status = reply->refused.status;
        body_put_cut_text(reply->refused.detail, MESSAGE_TEXT_MAX, &out->refused.detail);
        return 0;
}

static int done_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        (void)memory;
        (void)body;
        (void)out;
        return 0;
}

static int done_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)reply;
        (void)first;
        out->empty = (Buddyd__Empty)BUDDYD__EMPTY__INIT;
        return 0;
}

static int ranges_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        (void)memory;
        const Buddyd__Ranges *wire = (const Buddyd__Ranges *)body;
        return body_ranges(
                wire->places, wire->n_places, wire->generations, wire->n_generations, &out->ranges);
}

static int ranges_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        out->ranges = (Buddyd__Ranges)BUDDYD__RANGES__INIT;
        out->ranges.n_places = out->ranges.n_generations = reply->ranges.count;
        out->ranges.places = (uint64_t *)(uintptr_t)reply->ranges.places;
        out->ranges.generations = (uint32_t *)(uintptr_t)reply->ranges.generations;
        return reply->ranges.count > MESSAGE_BATCH_MAX ? -EMSGSIZE : 0;
}

static int welcome_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        (void)memory;
        const Buddyd__Welcome *wire = (const Buddyd__Welcome *)body;
        if (wire->n_descriptors > MESSAGE_DESCRIPTORS_MAX)
                return -EBADMSG;
        out->welcome = (struct reply_welcome){
                .version = wire->version,
                .features = wire->features,
                .session = wire->session,
                .page_bytes = wire->page_bytes,
                .size_bytes = wire->size_bytes,
                .max_size_bytes = wire->max_size_bytes,
                .resumed = wire->resumed,
                .descriptors = wire->descriptors,
                .descriptor_count = wire->n_descriptors,
                .done = {wire->done_request, wire->done_ranges, wire->done_place,
                        wire->done_generation, wire->done_use},
                .granted_ranges = wire->granted_ranges,
        };
        return body_token(&wire->token, &out->welcome.token);
}

static int welcome_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        const struct reply_welcome *welcome = &reply->welcome;
        Buddyd__Welcome *wire = &out->welcome;
        *wire = (Buddyd__Welcome)BUDDYD__WELCOME__INIT;
        wire->version = welcome->version;
        wire->features = welcome->features;
        wire->session = welcome->session;
        wire->page_bytes = welcome->page_bytes;
        wire->size_bytes = welcome->size_bytes;
        wire->max_size_bytes = welcome->max_size_bytes;
        wire->resumed = welcome->resumed;
        wire->n_descriptors = welcome->descriptor_count;
        wire->descriptors = (uint32_t *)(uintptr_t)welcome->descriptors;
        wire->granted_ranges = welcome->granted_ranges;
        wire->done_request = welcome->done.request;
        wire->done_ranges = welcome->done.ranges;
        wire->done_place = welcome->done.place;
        wire->done_generation = welcome->done.generation;
        wire->done_use = welcome->done.use;
        body_put_token(welcome->token, &wire->token);
        return welcome->descriptor_count > MESSAGE_DESCRIPTORS_MAX ? -EMSGSIZE : 0;
}

static int peer_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        (void)memory;
        out->peer = ((const Buddyd__Peer *)body)->session;
        return 0;
}

static int peer_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        out->peer = (Buddyd__Peer)BUDDYD__PEER__INIT;
        out->peer.session = reply->peer;
        return 0;
}

static int stats_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        return stats_from_wire(memory, (const Buddyd__Stats *)body, &out->stats);
}

static int stats_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        return stats_to_wire(&reply->stats, &out->stats);
}

static int clients_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        return clients_from_wire(memory, (const Buddyd__Clients *)body, &out->clients);
}

static int clients_write(const struct reply *reply, size_t first, union reply_body *out) {
        return clients_to_wire(&reply->clients, first, &out->clients);
}

static int holds_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        return holds_from_wire(memory, (const Buddyd__Holds *)body, &out->holds);
}

static int holds_write(const struct reply *reply, size_t first, union reply_body *out) {
        return holds_to_wire(&reply->holds, first, &out->holds);
}

static int check_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        const Buddyd__Check *wire = (const Buddyd__Check *)body;
        out->check = (struct reply_check){
                .pages = wire->pages,
                .chunks = wire->chunks,
                .records = wire->records,
                .live_blocks = wire->live_blocks,
                .holds = wire->holds,
                .keys = wire->keys,
                .sessions = wire->sessions,
                .free_blocks = wire->free_blocks,
                .microseconds = wire->microseconds,
        };
        return body_text(memory, &wire->fault, MESSAGE_TEXT_MAX, &out->check.fault);
}

static int check_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        const struct reply_check *check = &reply->check;
        Buddyd__Check *wire = &out->check;
        *wire = (Buddyd__Check)BUDDYD__CHECK__INIT;
        wire->pages = check->pages;
        wire->chunks = check->chunks;
        wire->records = check->records;
        wire->live_blocks = check->live_blocks;
        wire->holds = check->holds;
        wire->keys = check->keys;
        wire->sessions = check->sessions;
        wire->free_blocks = check->free_blocks;
        wire->microseconds = check->microseconds;
        body_put_cut_text(check->fault, MESSAGE_TEXT_MAX, &wire->fault);
        return 0;
}

static int range_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        (void)memory;
        const Buddyd__Range *wire = (const Buddyd__Range *)body;
        out->range = (struct message_range){wire->offset, wire->length, wire->generation};
        return 0;
}

static int range_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        out->range = (Buddyd__Range)BUDDYD__RANGE__INIT;
        out->range.offset = reply->range.offset;
        out->range.length = reply->range.length;
        out->range.generation = reply->range.generation;
        return 0;
}

static int returned_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        (void)memory;
        const Buddyd__Returned *wire = (const Buddyd__Returned *)body;
        out->returned = (struct reply_returned){wire->count, wire->bytes, wire->microseconds};
        return 0;
}

static int returned_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        out->returned = (Buddyd__Returned)BUDDYD__RETURNED__INIT;
        out->returned.count = reply->returned.count;
        out->returned.bytes = reply->returned.bytes;
        out->returned.microseconds = reply->returned.microseconds;
        return 0;
}

static int map_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        (void)memory;
        const Buddyd__Cells *wire = (const Buddyd__Cells *)body;
        if (wire->n_granted > MESSAGE_CELLS_MAX || wire->n_cached > MESSAGE_CELLS_MAX ||
                wire->n_share_cells > MESSAGE_CELLS_MAX ||
                wire->n_share_cells != wire->n_share_sessions ||
                wire->n_share_cells != wire->n_share_bytes)
                return -EBADMSG;
        out->map = (struct reply_map){
                .size_bytes = wire->size_bytes,
                .next_cursor = wire->next_cursor,
                .first = wire->first,
                .granted = wire->granted,
                .granted_count = wire->n_granted,
                .cached = wire->cached,
                .cached_count = wire->n_cached,
                .share_cells = wire->share_cells,
                .share_sessions = wire->share_sessions,
                .share_bytes = wire->share_bytes,
                .share_count = wire->n_share_cells,
        };
        return 0;
}

static int map_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        const struct reply_map *map = &reply->map;
        Buddyd__Cells *wire = &out->map;
        if (map->granted_count > MESSAGE_CELLS_MAX || map->cached_count > MESSAGE_CELLS_MAX ||
                map->share_count > MESSAGE_CELLS_MAX)
                return -EMSGSIZE;
        *wire = (Buddyd__Cells)BUDDYD__CELLS__INIT;
        wire->size_bytes = map->size_bytes;
        wire->next_cursor = map->next_cursor;
        wire->first = map->first;
        wire->n_granted = map->granted_count;
        wire->granted = (uint64_t *)(uintptr_t)map->granted;
        wire->n_cached = map->cached_count;
        wire->cached = (uint64_t *)(uintptr_t)map->cached;
        wire->n_share_cells = wire->n_share_sessions = wire->n_share_bytes = map->share_count;
        wire->share_cells = (uint32_t *)(uintptr_t)map->share_cells;
        wire->share_sessions = (uint32_t *)(uintptr_t)map->share_sessions;
        wire->share_bytes = (uint64_t *)(uintptr_t)map->share_bytes;
        return 0;
}

static int text_read(struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        const Buddyd__Text *wire = (const Buddyd__Text *)body;
        out->text.next_cursor = wire->next_cursor;
        return body_text(memory, &wire->text, MESSAGE_PAGE_MAX, &out->text.text);
}

static int text_write(const struct reply *reply, size_t first, union reply_body *out) {
        (void)first;
        out->text = (Buddyd__Text)BUDDYD__TEXT__INIT;
        out->text.next_cursor = reply->text.next_cursor;
        return body_put_text(reply->text.text, MESSAGE_PAGE_MAX, &out->text.text);
}

static int quotas_read(
        struct body_memory *memory, const ProtobufCMessage *body, struct reply *out) {
        return quotas_from_wire(memory, (const Buddyd__Quotas *)body, &out->quotas);
}

static int quotas_write(const struct reply *reply, size_t first, union reply_body *out) {
        return quotas_to_wire(&reply->quotas, first, &out->quotas);
}

static const struct reply_row rows[REPLY_KIND_END] = {
        [REPLY_REFUSED] = {&buddyd__refused__descriptor, refused_read, refused_write},
        [REPLY_DONE] = {&buddyd__empty__descriptor, done_read, done_write},
        [REPLY_RANGES] = {&buddyd__ranges__descriptor, ranges_read, ranges_write},
        [REPLY_WELCOME] = {&buddyd__welcome__descriptor, welcome_read, welcome_write},
        [REPLY_PEER] = {&buddyd__peer__descriptor, peer_read, peer_write},
        [REPLY_STATS] = {&buddyd__stats__descriptor, stats_read, stats_write},
        [REPLY_CLIENTS] = {&buddyd__clients__descriptor, clients_read, clients_write},
        [REPLY_HOLDS] = {&buddyd__holds__descriptor, holds_read, holds_write},
        [REPLY_CHECK] = {&buddyd__check__descriptor, check_read, check_write},
        [REPLY_RANGE] = {&buddyd__range__descriptor, range_read, range_write},
        [REPLY_RETURNED] = {&buddyd__returned__descriptor, returned_read, returned_write},
        [REPLY_MAP] = {&buddyd__cells__descriptor, map_read, map_write},
        [REPLY_TEXT] = {&buddyd__text__descriptor, text_read, text_write},
        [REPLY_QUOTAS] = {&buddyd__quotas__descriptor, quotas_read, quotas_write},
};

static const struct reply_row *row_of(unsigned kind) {
        return kind < REPLY_KIND_END && rows[kind].descriptor ? &rows[kind] : NULL;
}

int reply_decode_protobuf(
        struct arena *arena, const uint8_t *message, size_t length, struct reply *out) {
        struct envelope envelope;
        if (envelope_read(message, length, REPLY_KIND_END, &envelope) < 0)
                return -EBADMSG;
        struct reply reply;
        reply.id = envelope.id;
        const struct reply_row *row = row_of(envelope.kind);
        reply.kind = row ? (enum reply_kind)envelope.kind : REPLY_NONE; /* of a later version */
        if (row) {
                struct body_memory memory = {.arena = arena};
                ProtobufCMessage *body;
                int error = body_unpack(
                        &memory, row->descriptor, envelope.body, envelope.body_bytes, &body);
                if (error == 0)
                        error = row->read(&memory, body, &reply);
                if (error < 0)
                        return error;
        }
        *out = reply;
        return 0;
}

int reply_decode(struct arena *arena, const uint8_t *message, size_t length, struct reply *out) {
        return shortcut_read_reply(arena, message, length, out)
                       ? 0
                       : reply_decode_protobuf(arena, message, length, out);
}

static size_t reply_entries(const struct reply *reply) {
        switch (reply->kind) {
        case REPLY_CLIENTS:
                return reply->clients.count;
        case REPLY_QUOTAS:
                return reply->quotas.count;
        case REPLY_HOLDS:
                return reply->holds.count;
        default:
                return 0;
        }
}

/* Message bytes, or -EMSGSIZE; *body is the last piece of the body. */
static ptrdiff_t reply_measure(
        const struct reply *reply, union reply_body *body, size_t *body_bytes) {
        const struct reply_row *row = row_of(reply->kind);
        size_t entries = reply_entries(reply), first = 0, sum = 0;
        if (!row || entries > MESSAGE_ENTRIES_MAX)
                return -EMSGSIZE;
        do {
                if (row->write(reply, first, body) < 0)
                        return -EMSGSIZE;
                sum += protobuf_c_message_get_packed_size(&body->base);
                first += LISTING_PIECE;
        } while (first < entries);
        size_t bytes = envelope_bytes(reply->id, reply->kind, sum);
        *body_bytes = sum;
        return bytes > FRAME_REPLY_MAX ? -EMSGSIZE : (ptrdiff_t)bytes;
}

size_t reply_frame_bytes(const struct reply *reply) {
        union reply_body body;
        size_t body_bytes;
        ptrdiff_t bytes = reply_measure(reply, &body, &body_bytes);
        return bytes < 0 ? 0 : FRAME_HEADER_BYTES + (size_t)bytes;
}

ptrdiff_t reply_encode_protobuf(const struct reply *reply, uint8_t *frame, size_t size) {
        union reply_body body;
        size_t body_bytes;
        ptrdiff_t bytes = reply_measure(reply, &body, &body_bytes);
        if (bytes < 0 || size < FRAME_HEADER_BYTES + (size_t)bytes)
                return -EMSGSIZE;
        frame_header(frame, (size_t)bytes);
        uint8_t *at =
                envelope_write(frame + FRAME_HEADER_BYTES, reply->id, reply->kind, body_bytes);
        size_t entries = reply_entries(reply), first = 0;
        do {
                if (entries > LISTING_PIECE)
                        rows[reply->kind].write(reply, first, &body);
                at += protobuf_c_message_pack(&body.base, at);
                first += LISTING_PIECE;
        } while (first < entries);
        return (ptrdiff_t)FRAME_HEADER_BYTES + bytes;
}

ptrdiff_t reply_encode(const struct reply *reply, uint8_t *frame, size_t size) {
        size_t bytes = shortcut_write_reply(reply, frame, size);
        return bytes > 0 ? (ptrdiff_t)bytes : reply_encode_protobuf(reply, frame, size);
}
