/* Connecting to something that is no daemon, or an evil one: always an error, never a leak. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "peer.h"

#define PATIENCE_MS 20000

static size_t open_files(void) {
        DIR *folder = opendir("/proc/self/fd");
        size_t count = 0;
        while (readdir(folder))
                count++;
        closedir(folder);
        return count;
}

static size_t mappings(void) {
        FILE *maps = fopen("/proc/self/maps", "re");
        size_t lines = 0;
        for (int c = fgetc(maps); c != EOF; c = fgetc(maps))
                lines += c == '\n';
        fclose(maps);
        return lines;
}

static struct buddyclient *client_of(const struct peer *peer, int timeout_ms) {
        struct buddyclient *client;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, peer->path), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(client, timeout_ms), 0);
        return client;
}

/* Connects several times: the error is always the same, and after the first time nothing is left
 * behind. */
static void expect_failure_within(
        int timeout_ms, peer_script *script, int error, const char *reason) {
        struct peer peer = peer_start(script);
        struct buddyclient *client = client_of(&peer, timeout_ms);
        size_t files = open_files();
        cr_assert_eq(buddyclient_connect(client), error, "%s", buddyclient_detail(client));
        size_t maps = mappings();
        for (int i = 0; i < 3; i++) {
                cr_assert_eq(buddyclient_connect(client), error, "%s", buddyclient_detail(client));
                cr_assert_not_null(strstr(buddyclient_detail(client), reason), "%s",
                        buddyclient_detail(client));
        }
        cr_assert_eq(open_files(), files);
        cr_assert_leq(mappings(), maps);
        cr_assert_null(buddyclient_base(client));
        cr_assert_eq(buddyclient_id(client), 0);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

static void expect_failure(peer_script *script, int error, const char *reason) {
        expect_failure_within(PATIENCE_MS, script, error, reason);
}

static void expect_silence(peer_script *script) {
        expect_failure_within(IMPATIENT_MS, script, -ENOTCONN, "does not answer");
}

/* ---- Peers ---- */

static void silent(int fd) {
        peer_wait_close(fd);
}

static void closes(int fd) {
        peer_read(fd);
}

static void garbage(int fd) {
        static const uint8_t bytes[] = {16, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
        peer_read(fd);
        peer_send_bytes(fd, bytes, sizeof(bytes));
        peer_wait_close(fd);
}

static void speaks_http(int fd) {
        peer_read(fd);
        peer_send_bytes(fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        peer_wait_close(fd);
}

static void empty_frame(int fd) {
        static const uint8_t bytes[4] = {0};
        peer_read(fd);
        peer_send_bytes(fd, bytes, sizeof(bytes));
        peer_wait_close(fd);
}

static void stops_in_the_frame(int fd) {
        static const uint8_t bytes[] = {100, 0, 0, 0, 1, 2, 3};
        peer_read(fd);
        peer_send_bytes(fd, bytes, sizeof(bytes));
}

static void stalls_in_the_frame(int fd) {
        stops_in_the_frame(fd);
        peer_wait_close(fd);
}

static void refuses(int fd) {
        struct reply reply = {
                .id = peer_read(fd)->id,
                .kind = REPLY_REFUSED,
                .refused = {STATUS_NOT_FOUND, "no pool of that name: there are a, b"},
        };
        peer_send(fd, &reply, NULL, 0);
        peer_wait_close(fd);
}

static void refuses_with_ok(int fd) {
        struct reply reply = {
                .id = peer_read(fd)->id, .kind = REPLY_REFUSED, .refused = {STATUS_OK, "fine"}};
        peer_send(fd, &reply, NULL, 0);
        peer_wait_close(fd);
}

static void says_done(int fd) {
        struct reply reply = {.id = peer_read(fd)->id, .kind = REPLY_DONE};
        peer_send(fd, &reply, NULL, 0);
        peer_wait_close(fd);
}

static void answers_another(int fd) {
        struct reply reply = peer_welcome(peer_read(fd)->id + 1);
        int segment = peer_segment(1 << 20);
        peer_send(fd, &reply, &segment, 1);
        close(segment);
        peer_wait_close(fd);
}

static void answers_twice(int fd) {
        struct reply done = {.id = 99, .kind = REPLY_DONE};
        struct reply welcome = peer_welcome(peer_read(fd)->id);
        uint8_t frames[512];
        ptrdiff_t first = reply_encode(&welcome, frames, sizeof(frames));
        ptrdiff_t second = reply_encode(&done, frames + first, sizeof(frames) - (size_t)first);
        peer_send_bytes(fd, frames, (size_t)(first + second));
        peer_wait_close(fd);
}

static void no_descriptor(int fd) {
        struct reply reply = peer_welcome(peer_read(fd)->id);
        peer_send(fd, &reply, NULL, 0);
        peer_wait_close(fd);
}

static void too_many_descriptors(int fd) {
        struct reply reply = peer_welcome(peer_read(fd)->id);
        int segments[20];
        segments[0] = peer_segment(1 << 20);
        for (int i = 1; i < 20; i++)
                segments[i] = segments[0];
        peer_send(fd, &reply, segments, 20);
        close(segments[0]);
        peer_wait_close(fd);
}

static void two_segments(int fd) {
        static const uint32_t kinds[] = {DESCRIPTOR_SEGMENT, DESCRIPTOR_SEGMENT};
        struct reply reply = peer_welcome(peer_read(fd)->id);
        reply.welcome.descriptors = kinds;
        reply.welcome.descriptor_count = 2;
        int segments[] = {peer_segment(1 << 20), peer_segment(1 << 20)};
        peer_send(fd, &reply, segments, 2);
        close(segments[0]);
        close(segments[1]);
        peer_wait_close(fd);
}

static void descriptor_of_another_kind(int fd) {
        static const uint32_t kinds[] = {77};
        struct reply reply = peer_welcome(peer_read(fd)->id);
        reply.welcome.descriptors = kinds;
        int segment = peer_segment(1 << 20);
        peer_send(fd, &reply, &segment, 1);
        close(segment);
        peer_wait_close(fd);
}

static void pipe_for_a_segment(int fd) {
        struct reply reply = peer_welcome(peer_read(fd)->id);
        int ends[2];
        if (pipe(ends) != 0)
                return;
        peer_send(fd, &reply, &ends[0], 1);
        close(ends[0]);
        close(ends[1]);
        peer_wait_close(fd);
}

static void short_segment(int fd) {
        struct reply reply = peer_welcome(peer_read(fd)->id);
        int segment = peer_segment((1 << 20) - 1);
        peer_send(fd, &reply, &segment, 1);
        close(segment);
        peer_wait_close(fd);
}

/* Sends a proper welcome but for what change does to it. */
static void greet_changed(int fd, void (*change)(struct reply_welcome *)) {
        struct reply reply = peer_welcome(peer_read(fd)->id);
        change(&reply.welcome);
        int segment = peer_segment(1 << 20);
        peer_send(fd, &reply, &segment, 1);
        close(segment);
        peer_wait_close(fd);
}

#define CHANGED(name, change)                                                                      \
        static void name##_change(struct reply_welcome *welcome) {                                 \
                change;                                                                            \
        }                                                                                          \
        static void name(int fd) {                                                                 \
                greet_changed(fd, name##_change);                                                  \
        }

CHANGED(another_version, welcome->version = PROTOCOL_VERSION + 1)
CHANGED(odd_page, welcome->page_bytes = 4097)
CHANGED(zero_page, welcome->page_bytes = 0)
CHANGED(huge_page, welcome->page_bytes = UINT64_C(1) << 63)
CHANGED(zero_size, welcome->size_bytes = 0)
CHANGED(broken_page, welcome->size_bytes = 4095)
CHANGED(huge_size, welcome->size_bytes = welcome->max_size_bytes = UINT64_C(1) << 62)
CHANGED(shrinks, welcome->max_size_bytes = welcome->size_bytes / 2)
CHANGED(no_session, welcome->session = 0)
CHANGED(no_token, welcome->token = NULL)

/* ---- Tests ---- */

#define REFUSES(name, error, reason)                                                               \
        Test(hello, name) {                                                                        \
                expect_failure(name, error, reason);                                               \
        }

Test(hello, silent) {
        expect_silence(silent);
}

Test(hello, stalls_in_the_frame) {
        expect_silence(stalls_in_the_frame);
}

REFUSES(closes, -ENOTCONN, "closed the connection")
REFUSES(stops_in_the_frame, -ENOTCONN, "closed the connection")
REFUSES(garbage, -EPROTO, "not of this protocol")
REFUSES(speaks_http, -EPROTO, "not of this protocol")
REFUSES(empty_frame, -EPROTO, "not of this protocol")
REFUSES(refuses, -ENOENT, "there are a, b")
REFUSES(refuses_with_ok, -EPROTO, "")
REFUSES(says_done, -EPROTO, "does not answer hello")
REFUSES(answers_another, -EPROTO, "does not answer hello")
REFUSES(answers_twice, -EPROTO, "not of this protocol")
REFUSES(no_descriptor, -EPROTO, "1 descriptors and sent 0")
REFUSES(too_many_descriptors, -EPROTO, "not of this protocol")
REFUSES(two_segments, -EPROTO, "two segments")
REFUSES(descriptor_of_another_kind, -EPROTO, "no segment")
REFUSES(pipe_for_a_segment, -EPROTO, "cannot be mapped")
REFUSES(short_segment, -EPROTO, "cannot be mapped")
REFUSES(another_version, -EPROTO, "protocol version")
REFUSES(odd_page, -EPROTO, "page size")
REFUSES(zero_page, -EPROTO, "page size")
REFUSES(huge_page, -EPROTO, "page size")
REFUSES(zero_size, -EPROTO, "a pool of 0 bytes")
REFUSES(broken_page, -EPROTO, "a pool of 4095 bytes")
REFUSES(huge_size, -EPROTO, "a pool of")
REFUSES(shrinks, -EPROTO, "a pool of")
REFUSES(no_session, -EPROTO, "no session")
REFUSES(no_token, -EPROTO, "no session")

/* A connection that failed may be tried again, and then works. */
static void refuses_once(int fd) {
        static int connections;
        if (connections++ == 0) {
                refuses(fd);
                return;
        }
        peer_greet(fd);
        peer_part(fd);
}

Test(hello, may_be_tried_again) {
        struct peer peer = peer_start(refuses_once);
        struct buddyclient *client = client_of(&peer, PATIENCE_MS);
        cr_assert_eq(buddyclient_connect(client), -ENOENT);
        cr_assert_eq(buddyclient_connect(client), 0);
        cr_assert_eq(buddyclient_id(client), 7);
        cr_assert_eq(buddyclient_size(client), 1 << 20);
        cr_assert_eq(buddyclient_connect(client), -EBUSY);
        cr_assert_eq(buddyclient_set_pool(client, "other"), -EBUSY);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* What is set up arrives; the answer comes back only if it does. */
static void checks_hello(int fd) {
        const struct request *request = peer_read(fd);
        const struct request_hello *hello = &request->hello;
        bool right = request->kind == REQUEST_HELLO && hello->version == PROTOCOL_VERSION &&
                     strcmp(hello->pool, "blue") == 0 && strcmp(hello->name, "worker 7") == 0 &&
                     hello->access == ACCESS_READ_ONLY && hello->cache_bytes == 12345 &&
                     !hello->token;
        if (!right)
                return;
        struct reply reply = peer_welcome(request->id);
        int segment = peer_segment(1 << 20);
        peer_send(fd, &reply, &segment, 1);
        close(segment);
        peer_confirm(fd);
        peer_part(fd);
}

Test(hello, carries_what_was_set_up) {
        struct peer peer = peer_start(checks_hello);
        struct buddyclient *client = client_of(&peer, PATIENCE_MS);
        cr_assert_eq(buddyclient_set_pool(client, "blue"), 0);
        cr_assert_eq(buddyclient_set_name(client, "worker 7"), 0);
        cr_assert_eq(buddyclient_set_read_only(client, true), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, 12345), 0);
        cr_assert_eq(buddyclient_connect(client), 0, "%s", buddyclient_detail(client));
        buddyclient_destroy(client);
        peer_stop(&peer);
}

/* Welcomes and says no more. Having heard the second request it would keep the session: the client has to take it back. */
static void welcomes_only(int fd) {
        struct reply reply = peer_welcome(peer_read(fd)->id);
        int segment = peer_segment(1 << 20);
        peer_send(fd, &reply, &segment, 1);
        close(segment);
        peer_need(peer_read_any(fd)->kind == REQUEST_CACHE);
        peer_need(peer_read_any(fd)->kind == REQUEST_GOODBYE);
}

Test(hello, is_taken_back_when_the_second_answer_does_not_come) {
        expect_silence(welcomes_only);
}
