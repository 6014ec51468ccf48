#include "samples.h"

#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define TEXT_16 "0123456789abcdef"
#define TEXT_240                                                                                   \
        TEXT_16 TEXT_16 TEXT_16 TEXT_16 TEXT_16 TEXT_16 TEXT_16 TEXT_16 TEXT_16 TEXT_16 TEXT_16    \
                TEXT_16 TEXT_16 TEXT_16 TEXT_16
#define TEXT_255  TEXT_240 "0123456789abcde"
#define TEXT_1023 TEXT_255 "x" TEXT_255 "x" TEXT_255 "x" TEXT_255

static const uint8_t token[MESSAGE_TOKEN_BYTES] = {
        0, 1, 2, 0xff, 0x80, 5, 0, 7, 8, 9, 10, 11, 12, 0, 0, 1};
static uint64_t places[MESSAGE_BATCH_MAX];
static uint32_t generations[MESSAGE_BATCH_MAX];
static struct reply_order orders[MESSAGE_ORDERS_MAX];
static struct reply_client clients[MESSAGE_ENTRIES_MAX];
static struct reply_hold holds[MESSAGE_ENTRIES_MAX];
static struct reply_user users[MESSAGE_ENTRIES_MAX];
static const uint64_t limits[MESSAGE_LIMITS_MAX] = {QUOTA_NONE, QUOTA_SHARE, 0, 1, 4096};
static const uint32_t descriptors[MESSAGE_DESCRIPTORS_MAX] = {
        DESCRIPTOR_SEGMENT, DESCRIPTOR_PULSE, 3, 77, UINT32_MAX, 0, 1, 2};

static char text_page[MESSAGE_PAGE_MAX + 1];

static void fill_arrays(void) {
        memset(text_page, 'm', MESSAGE_PAGE_MAX);
        for (uint32_t i = 0; i < MESSAGE_BATCH_MAX; i++) {
                places[i] = UINT64_C(0xfffff000) * i | (i % 32);
                generations[i] = UINT32_MAX - i * 7919u;
        }
        for (uint32_t i = 0; i < MESSAGE_ORDERS_MAX; i++)
                orders[i] = (struct reply_order){
                        i, UINT64_C(1) << i, i * 3u, UINT64_MAX - i, i / 64.0, i % 2 ? -1.0 : 0.25};
        for (uint32_t i = 0; i < MESSAGE_ENTRIES_MAX; i++) {
                clients[i] = (struct reply_client){i, i % 3 ? TEXT_16 : TEXT_255, i * 17,
                        UINT32_MAX, i % 2, i % 5 == 0, UINT64_MAX, i, UINT64_MAX - i, i % 9,
                        UINT64_MAX};
                holds[i] = (struct reply_hold){{UINT64_MAX - i, UINT64_MAX, UINT64_MAX},
                        UINT32_MAX - i, UINT64_MAX, TEXT_255, i % 3 == 0};
                users[i] = (struct reply_user){UINT32_MAX - i, i % 2, UINT64_MAX, i, UINT64_MAX, i,
                        UINT64_MAX, i * 3, UINT64_MAX, UINT64_MAX - i};
        }
}

#define RANGES(n)                                                                                  \
        { places, generations, n }
#define KEY(text)                                                                                  \
        {                                                                                          \
                .key = text, .range = { 1u << 20, 4096, 77 }                                       \
        }

static const struct request requests[] = {
        {.id = 1,
                .kind = REQUEST_HELLO,
                .hello = {PROTOCOL_VERSION, UINT64_MAX, "default", "reader", ACCESS_READ_ONLY,
                        UINT32_MAX, token, UINT64_MAX}},
        {.id = 2,
                .kind = REQUEST_HELLO,
                .hello = {.version = 1,
                        .pool = TEXT_255,
                        .name = "\xff\xfe",
                        .access = ACCESS_OBSERVER}},
        {.id = 0, .kind = REQUEST_HELLO, .hello = {.pool = "", .name = ""}},
        {.id = UINT64_MAX,
                .kind = REQUEST_ALLOC,
                .alloc = {UINT64_MAX, UINT32_MAX, true, -1, UINT64_MAX, UINT32_MAX}},
        {.id = 3, .kind = REQUEST_ALLOC, .alloc = {4096, 1, false, INT64_MIN}},
        {.id = 4, .kind = REQUEST_ALLOC, .alloc = {0, 0, true, INT64_MAX}},
        {.id = 127, .kind = REQUEST_RELEASE, .release = {RANGES(1), false}},
        {.id = 128, .kind = REQUEST_RELEASE, .release = {RANGES(MESSAGE_BATCH_MAX), true}},
        {.id = 5, .kind = REQUEST_RELEASE, .release = {RANGES(0), true}},
        {.id = 6, .kind = REQUEST_ATTACH, .attach = {{UINT64_MAX, UINT64_MAX, UINT64_MAX}}},
        {.id = 7, .kind = REQUEST_GIVE, .give = {RANGES(2), UINT32_MAX}},
        {.id = 8, .kind = REQUEST_GIVE, .give = {RANGES(MESSAGE_BATCH_MAX), 1}},
        {.id = 9, .kind = REQUEST_LOOKUP, .lookup = KEY("weights")},
        {.id = 10, .kind = REQUEST_PUBLISH, .publish = KEY(TEXT_255)},
        {.id = 11, .kind = REQUEST_UNPUBLISH, .unpublish = KEY("")},
        {.id = 12, .kind = REQUEST_FIND, .find = {"writer"}},
        {.id = 13, .kind = REQUEST_PING},
        {.id = 0, .kind = REQUEST_PING},
        {.id = 14, .kind = REQUEST_GOODBYE},
        {.id = 15, .kind = REQUEST_STATS},
        {.id = 16, .kind = REQUEST_CLIENTS, .clients = {UINT32_MAX, UINT64_MAX, UINT32_MAX}},
        {.id = 17, .kind = REQUEST_HOLDS, .holds = {5, 6, 7}},
        {.id = 18, .kind = REQUEST_CHECK},
        {.id = 19, .kind = REQUEST_HOLD, .hold = {1u << 30}},
        {.id = 20, .kind = REQUEST_UNHOLD, .unhold = {UINT64_MAX}},
        {.id = 21, .kind = REQUEST_CACHE},
        {.id = 22, .kind = REQUEST_UNCACHE, .uncache = {UINT32_MAX, 7}},
        {.id = 23, .kind = REQUEST_KICK, .kick = {UINT32_MAX}},
        {.id = 24, .kind = REQUEST_DRAIN, .drain = {true}},
        {.id = 25, .kind = REQUEST_DRAIN},
        {.id = 26, .kind = REQUEST_TRIM},
        {.id = 27, .kind = REQUEST_GROW, .grow = {UINT64_MAX}},
        {.id = 28,
                .kind = REQUEST_MAP,
                .map = {UINT64_MAX, UINT64_MAX - 1, UINT32_MAX, true, UINT64_MAX - 2}},
        {.id = 29, .kind = REQUEST_MAP},
        {.id = 30, .kind = REQUEST_METRICS, .metrics = {UINT64_MAX, UINT32_MAX}},
        {.id = 31, .kind = REQUEST_METRICS},
        {.id = 27, .kind = REQUEST_QUOTA, .quota = {QUOTA_USER_BUFFERS, QUOTA_NONE, 5}},
};

static const struct reply replies[] = {
        {.id = 0, .kind = REPLY_REFUSED, .refused = {STATUS_PROTOCOL, ""}},
        {.id = 1,
                .kind = REPLY_REFUSED,
                .refused = {STATUS_NO_SPACE,
                        "no free block of 2 MiB: 310 MiB free, largest 1 MiB"}},
        {.id = 2, .kind = REPLY_REFUSED, .refused = {STATUS_UNKNOWN_REQUEST, TEXT_1023}},
        {.id = UINT64_MAX, .kind = REPLY_DONE},
        {.id = 3, .kind = REPLY_RANGES, .ranges = RANGES(1)},
        {.id = 4, .kind = REPLY_RANGES, .ranges = RANGES(MESSAGE_BATCH_MAX)},
        {.id = 5,
                .kind = REPLY_WELCOME,
                .welcome = {PROTOCOL_VERSION, UINT64_MAX, 9, token, 4096, 1u << 30, UINT64_MAX,
                        true, descriptors, MESSAGE_DESCRIPTORS_MAX,
                        {UINT64_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX, 7}, UINT64_MAX}},
        {.id = 6, .kind = REPLY_WELCOME, .welcome = {.version = 1}},
        {.id = 7, .kind = REPLY_PEER, .peer = UINT32_MAX},
        {.id = 8,
                .kind = REPLY_STATS,
                .stats = {"default", "posix-shm", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                        16, 17, 18, 19, 20, 21, 22, 23, 24, {1.5, 2.5, 3.5, 1e300},
                        {0.0, -1.0, 1e-300, 4.0}, orders, MESSAGE_ORDERS_MAX}},
        {.id = 9, .kind = REPLY_STATS, .stats = {.pool = "", .backing = ""}},
        {.id = 10, .kind = REPLY_CLIENTS, .clients = {clients, 0, 0}},
        {.id = 11, .kind = REPLY_CLIENTS, .clients = {clients, 1, UINT64_MAX}},
        {.id = 12, .kind = REPLY_CLIENTS, .clients = {clients, 32, 32}},
        {.id = 13, .kind = REPLY_CLIENTS, .clients = {clients, 33, 33}},
        {.id = 14, .kind = REPLY_CLIENTS, .clients = {clients, MESSAGE_ENTRIES_MAX, UINT64_MAX}},
        {.id = 15, .kind = REPLY_HOLDS, .holds = {holds, 0, 7}},
        {.id = 16, .kind = REPLY_HOLDS, .holds = {holds, 65, 0}},
        {.id = 17, .kind = REPLY_HOLDS, .holds = {holds, MESSAGE_ENTRIES_MAX, UINT64_MAX}},
        {.id = 18, .kind = REPLY_CHECK, .check = {1, 2, 3, 4, 5, 6, 7, 8, 9, ""}},
        {.id = 19, .kind = REPLY_CHECK, .check = {.fault = "page 7 is free and held"}},
        {.id = 20, .kind = REPLY_RANGE, .range = {UINT64_MAX, 4096, UINT64_MAX - 1}},
        {.id = 21, .kind = REPLY_RETURNED, .returned = {UINT64_MAX, 1u << 31, 7}},
        {.id = 22,
                .kind = REPLY_MAP,
                .map = {UINT64_MAX, 7, UINT32_MAX, places, MESSAGE_CELLS_MAX, places + 1,
                        MESSAGE_CELLS_MAX - 1, generations, generations + 1, places + 2,
                        MESSAGE_CELLS_MAX - 2}},
        {.id = 23, .kind = REPLY_MAP},
        {.id = 24, .kind = REPLY_TEXT, .text = {text_page, UINT64_MAX}},
        {.id = 25, .kind = REPLY_TEXT, .text = {"", 0}},
        {.id = 21, .kind = REPLY_QUOTAS, .quotas = {limits, 11, users, 0, 0}},
        {.id = 22,
                .kind = REPLY_QUOTAS,
                .quotas = {limits, MESSAGE_LIMITS_MAX, users, MESSAGE_ENTRIES_MAX, UINT64_MAX}},
};

const struct request *sample_requests(size_t *count) {
        fill_arrays();
        *count = COUNT_OF(requests);
        return requests;
}

const struct reply *sample_replies(size_t *count) {
        fill_arrays();
        *count = COUNT_OF(replies);
        return replies;
}
