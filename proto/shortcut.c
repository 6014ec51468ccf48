/* See shortcut.h. Stateless. Every length is compared with what is left before it is used. */
#include "shortcut.h"

#include <string.h>

#include "frame.h"
#include "varint.h"

/* Packed arrays lie on the wire as in memory. */
#define SERVES (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)

/* A field's number and wire type in one byte. */
#define TAG_NUMBER(field)  ((uint8_t)((field) << 3))
#define TAG_BYTES(field)   ((uint8_t)((field) << 3 | 2))
#define TAG_ID             TAG_NUMBER(1)
#define ALLOC_LENGTH       TAG_NUMBER(1)
#define ALLOC_COUNT        TAG_NUMBER(2)
#define ALLOC_WAIT         TAG_NUMBER(3)
#define ALLOC_TIMEOUT      TAG_NUMBER(4)
#define ALLOC_WAITED       TAG_NUMBER(5)
#define ALLOC_SPARE        TAG_NUMBER(6)
#define RANGES_PLACES      TAG_BYTES(1)
#define RANGES_GENERATIONS TAG_BYTES(2)
#define RELEASE_ONE_WAY    TAG_NUMBER(3)

/* More than any message without arrays takes; with arrays, more than all but the arrays takes. */
#define ROOM_BYTES  ((size_t)64)
#define RANGE_BYTES (sizeof(uint64_t) + sizeof(uint32_t))

_Static_assert(sizeof(struct request_alloc) == 40, "what is new in an alloc is not written here");
_Static_assert(sizeof(struct message_ranges) == 24, "what is new in ranges is not written here");

/* ---- Reading ---- */

/* An envelope whose last field is the body. */
struct outline {
        uint64_t id;
        uint8_t tag;
        const uint8_t *at, *end; /* of the body */
};

static bool outline_read(const uint8_t *message, size_t length, struct outline *out) {
        const uint8_t *at = message, *end = message + length;
        uint64_t body_bytes;
        if (!SERVES || length < 2 || *at++ != TAG_ID || varint_read(&at, end, &out->id) < 0 ||
                at == end)
                return false;
        out->tag = *at++;
        if (varint_read(&at, end, &body_bytes) < 0 || body_bytes != (size_t)(end - at))
                return false;
        out->at = at;
        out->end = end;
        return true;
}

/* A number of at most max, if it is what comes next; else it is 0. */
static inline bool number_read(struct outline *body, uint8_t tag, uint64_t max, uint64_t *out) {
        *out = 0;
        if (body->at == body->end || *body->at != tag)
                return true;
        body->at++;
        return varint_read(&body->at, body->end, out) == 0 && *out <= max;
}

/* The packed elements of an array that comes next and is not empty. */
static const uint8_t *array_read(struct outline *body, uint8_t tag, size_t width, size_t *count) {
        uint64_t bytes;
        if (body->at == body->end || *body->at++ != tag ||
                varint_read(&body->at, body->end, &bytes) < 0 || bytes == 0 ||
                bytes > (size_t)(body->end - body->at) || bytes % width != 0)
                return NULL;
        const uint8_t *elements = body->at;
        body->at += bytes;
        *count = (size_t)bytes / width;
        return elements;
}

static bool ranges_read(struct arena *arena, struct outline *body, struct message_ranges *out) {
        size_t count, generation_count;
        const uint8_t *places = array_read(body, RANGES_PLACES, sizeof(uint64_t), &count);
        if (!places || count > MESSAGE_BATCH_MAX)
                return false;
        const uint8_t *generations =
                array_read(body, RANGES_GENERATIONS, sizeof(uint32_t), &generation_count);
        if (!generations || generation_count != count)
                return false;
        uint8_t *memory = arena_alloc(arena, count * RANGE_BYTES);
        if (!memory)
                return false;
        memcpy(memory, places, count * sizeof(uint64_t));
        memcpy(memory + count * sizeof(uint64_t), generations, count * sizeof(uint32_t));
        *out = (struct message_ranges){
                .places = (const uint64_t *)(const void *)memory,
                .generations = (const uint32_t *)(const void *)(memory + count * sizeof(uint64_t)),
                .count = count,
        };
        return true;
}

static bool alloc_read(struct outline *body, struct request *out) {
        uint64_t length, count, wait, timeout, waited, spare;
        if (!number_read(body, ALLOC_LENGTH, UINT64_MAX, &length) ||
                !number_read(body, ALLOC_COUNT, UINT32_MAX, &count) ||
                !number_read(body, ALLOC_WAIT, 1, &wait) ||
                !number_read(body, ALLOC_TIMEOUT, UINT64_MAX, &timeout) ||
                !number_read(body, ALLOC_WAITED, UINT64_MAX, &waited) ||
                !number_read(body, ALLOC_SPARE, UINT32_MAX, &spare) || body->at != body->end)
                return false;
        out->id = body->id;
        out->kind = REQUEST_ALLOC;
        out->alloc = (struct request_alloc){
                .length = length,
                .count = (uint32_t)count,
                .wait = wait != 0,
                .timeout_ms = (int64_t)(timeout >> 1 ^ -(timeout & 1)),
                .waited_ms = waited,
                .spare = (uint32_t)spare,
        };
        return true;
}

static bool release_read(struct arena *arena, struct outline *body, struct request *out) {
        struct message_ranges ranges;
        uint64_t one_way;
        if (!ranges_read(arena, body, &ranges) ||
                !number_read(body, RELEASE_ONE_WAY, 1, &one_way) || body->at != body->end)
                return false;
        out->id = body->id;
        out->kind = REQUEST_RELEASE;
        out->release = (struct request_release){.ranges = ranges, .one_way = one_way != 0};
        return true;
}

bool shortcut_read_request(
        struct arena *arena, const uint8_t *message, size_t length, struct request *out) {
        struct outline body;
        if (!outline_read(message, length, &body))
                return false;
        switch (body.tag) {
        case TAG_BYTES(REQUEST_ALLOC):
                return alloc_read(&body, out);
        case TAG_BYTES(REQUEST_RELEASE):
                return release_read(arena, &body, out);
        default:
                return false;
        }
}

bool shortcut_read_reply(
        struct arena *arena, const uint8_t *message, size_t length, struct reply *out) {
        struct outline body;
        if (!outline_read(message, length, &body))
                return false;
        struct message_ranges ranges;
        if (body.tag == TAG_BYTES(REPLY_DONE) && body.at == body.end) {
                out->kind = REPLY_DONE;
        } else if (body.tag == TAG_BYTES(REPLY_RANGES) && ranges_read(arena, &body, &ranges) &&
                   body.at == body.end) {
                out->kind = REPLY_RANGES;
                out->ranges = ranges;
        } else {
                return false;
        }
        out->id = body.id;
        return true;
}

/* ---- Writing ---- */

static uint8_t *number_write(uint8_t *at, uint8_t tag, uint64_t value) {
        if (value == 0)
                return at;
        *at++ = tag;
        return varint_write(at, value);
}

static uint8_t *outline_write(uint8_t *frame, uint64_t id, uint8_t tag, size_t body_bytes) {
        uint8_t *at = number_write(frame + FRAME_HEADER_BYTES, TAG_ID, id);
        *at++ = tag;
        return varint_write(at, body_bytes);
}

static size_t frame_finish(uint8_t *frame, const uint8_t *end) {
        size_t bytes = (size_t)(end - frame);
        frame_header(frame, bytes - FRAME_HEADER_BYTES);
        return bytes;
}

static uint8_t *array_write(uint8_t *at, uint8_t tag, const void *elements, size_t bytes) {
        *at++ = tag;
        at = varint_write(at, bytes);
        memcpy(at, elements, bytes);
        return at + bytes;
}

static size_t array_bytes(size_t bytes) {
        return 1 + varint_bytes(bytes) + bytes;
}

/* The body is written first to where it comes to lie behind a length of one byte. */
static size_t alloc_write(const struct request *request, uint8_t *frame) {
        const struct request_alloc *alloc = &request->alloc;
        uint8_t *body = outline_write(frame, request->id, TAG_BYTES(REQUEST_ALLOC), 0);
        uint64_t timeout = (uint64_t)alloc->timeout_ms;
        uint8_t *at = number_write(body, ALLOC_LENGTH, alloc->length);
        at = number_write(at, ALLOC_COUNT, alloc->count);
        at = number_write(at, ALLOC_WAIT, alloc->wait);
        at = number_write(at, ALLOC_TIMEOUT, timeout << 1 ^ -(timeout >> 63));
        at = number_write(at, ALLOC_WAITED, alloc->waited_ms);
        at = number_write(at, ALLOC_SPARE, alloc->spare);
        body[-1] = (uint8_t)(at - body);
        return frame_finish(frame, at);
}

/* What a release and the reply to an alloc are. */
struct ranges_message {
        uint64_t id;
        uint8_t tag;
        bool one_way; /* of a release */
};

static size_t ranges_write(struct ranges_message message, const struct message_ranges *ranges,
        uint8_t *frame, size_t size) {
        if (ranges->count == 0 || ranges->count > MESSAGE_BATCH_MAX ||
                size < ROOM_BYTES + ranges->count * RANGE_BYTES)
                return 0;
        size_t place_bytes = ranges->count * sizeof(uint64_t);
        size_t generation_bytes = ranges->count * sizeof(uint32_t);
        size_t body_bytes = array_bytes(place_bytes) + array_bytes(generation_bytes) +
                            (message.one_way ? 2 : 0);
        uint8_t *at = outline_write(frame, message.id, message.tag, body_bytes);
        at = array_write(at, RANGES_PLACES, ranges->places, place_bytes);
        at = array_write(at, RANGES_GENERATIONS, ranges->generations, generation_bytes);
        at = number_write(at, RELEASE_ONE_WAY, message.one_way);
        return frame_finish(frame, at);
}

size_t shortcut_write_request(const struct request *request, uint8_t *frame, size_t size) {
        struct ranges_message message = {
                .id = request->id,
                .tag = TAG_BYTES(REQUEST_RELEASE),
        };
        if (!SERVES || size < ROOM_BYTES)
                return 0;
        switch (request->kind) {
        case REQUEST_ALLOC:
                return alloc_write(request, frame);
        case REQUEST_RELEASE:
                message.one_way = request->release.one_way;
                return ranges_write(message, &request->release.ranges, frame, size);
        default:
                return 0;
        }
}

size_t shortcut_write_reply(const struct reply *reply, uint8_t *frame, size_t size) {
        struct ranges_message message = {.id = reply->id, .tag = TAG_BYTES(REPLY_RANGES)};
        if (!SERVES || size < ROOM_BYTES)
                return 0;
        switch (reply->kind) {
        case REPLY_DONE:
                return frame_finish(
                        frame, outline_write(frame, reply->id, TAG_BYTES(REPLY_DONE), 0));
        case REPLY_RANGES:
                return ranges_write(message, &reply->ranges, frame, size);
        default:
                return 0;
        }
}
