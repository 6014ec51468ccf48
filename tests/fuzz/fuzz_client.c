/* The client library and a daemon that answers whatever it likes: connecting, every call, losing the connection and resuming.
 * Calls end with an error of the contract or a result that can be true, within their time; no descriptor is left behind. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "fuzz.h"
#include "hostile_daemon.h"

#define CALLS_MAX  24u
#define RANGES     8u
#define TIMEOUT_MS 3

static struct buddyclient_range ranges[RANGES];

static void expect_error(int result) {
        static const int errors[] = {0, -EINVAL, -E2BIG, -ENOMEM, -ETIMEDOUT, -EDQUOT, -ESTALE,
                -EACCES, -ENOENT, -ENOTCONN, -EPROTO, -EBUSY, -EOPNOTSUPP};
        for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++)
                if (result == errors[i])
                        return;
        fprintf(stderr, "a call returned %d\n", result);
        abort();
}

/* A range that a call gave can be used, also one in a part that the pool has grown by meanwhile. */
static void expect_usable(struct buddyclient *client, const struct buddyclient_range *range) {
        fuzz_require(range->length >= buddyclient_page_size(client));
        fuzz_require((range->length & (range->length - 1)) == 0);
        fuzz_require(range->offset % range->length == 0);
        const volatile uint8_t *bytes = buddyclient_pointer(client, range);
        fuzz_require(bytes != NULL);
        (void)bytes[0];
        (void)bytes[range->length - 1];
}

static int call_one(struct buddyclient *client, unsigned which, struct tape *tape) {
        struct buddyclient_range *range = &ranges[tape_byte(tape) % RANGES];
        uint64_t length = UINT64_C(4096) << which / 16 % 8;
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        struct buddyclient_range four[4];
        uint32_t peer;
        int result;
        switch (which % 16) {
        case 0:
        case 1:
                result = buddyclient_alloc(client, length, range);
                if (result == 0)
                        expect_usable(client, range);
                return result;
        case 2:
                result = buddyclient_alloc_wait(client, length, (int)(which / 128), range);
                if (result == 0)
                        expect_usable(client, range);
                return result;
        case 3:
                result = buddyclient_alloc_many(client, length, 4, four);
                for (unsigned i = 0; result == 0 && i < 4; i++)
                        expect_usable(client, &four[i]);
                if (result == 0)
                        memcpy(ranges, four, sizeof(four));
                return result;
        case 4:
        case 5:
                return buddyclient_release(client, range);
        case 6:
                return buddyclient_release_many(client, ranges, 1 + which / 16 % RANGES);
        case 7:
                return buddyclient_attach(client, range);
        case 8:
                return buddyclient_give(client, range, 9);
        case 9:
                return buddyclient_give_many(client, ranges, 1 + which / 16 % RANGES, 9);
        case 10:
                return buddyclient_publish(client, "key", range);
        case 11:
                result = buddyclient_lookup(client, "key", range);
                if (result == 0)
                        expect_usable(client, range);
                return result;
        case 12:
                return buddyclient_unpublish(client, "key");
        case 13:
                return buddyclient_find(client, "peer", &peer);
        default:
                return buddyclient_stats(client, &stats);
        }
}

static void use(struct buddyclient *client, const uint8_t *calls, size_t count) {
        struct tape tape = {calls, count};
        memset(ranges, 0, sizeof(ranges));
        while (tape.left > 0) {
                expect_error(call_one(client, tape_byte(&tape), &tape));
                const char *detail = buddyclient_detail(client);
                fuzz_require(!detail || strlen(detail) < 4096);
        }
}

static int lowest_free_descriptor(void) {
        int fd = dup(STDIN_FILENO);
        if (fd >= 0)
                close(fd);
        return fd;
}

/* The first byte: with which settings; the second: how many of the others are calls. The rest is the daemon's. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
        const char *path = hostile_daemon_path();
        int before = lowest_free_descriptor();
        struct tape tape = {bytes, length};
        struct buddyclient *client;
        unsigned settings = tape_byte(&tape);
        size_t count, most = tape_byte(&tape) % CALLS_MAX * 2u;
        const uint8_t *calls = tape_piece(&tape, most, &count);
        hostile_daemon_begin(tape);
        fuzz_require(buddyclient_new(&client) == 0);
        fuzz_require(buddyclient_set_socket(client, path) == 0);
        fuzz_require(buddyclient_set_timeout_ms(client, TIMEOUT_MS) == 0);
        fuzz_require(buddyclient_set_read_only(client, settings % 8 == 7) == 0);
        if (settings / 8 % 2)
                fuzz_require(buddyclient_set_cache_bytes(client, 0) == 0);
        int result = buddyclient_connect(client);
        expect_error(result);
        if (result == 0)
                use(client, calls, count);
        buddyclient_destroy(client);
        hostile_daemon_end();
        fuzz_require(lowest_free_descriptor() == before);
        return 0;
}
