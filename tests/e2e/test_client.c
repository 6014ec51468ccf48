/* The library from a user's side: setting up, connecting, and what a refused set-up says. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"

TestSuite(client, .timeout = 60);

static const struct buddyclient_range UNTOUCHED = {0x1111, 0x2222, 0x3333};

static void expect_untouched(const struct buddyclient_range *range) {
        cr_assert(memcmp(range, &UNTOUCHED, sizeof UNTOUCHED) == 0,
                "a refused call wrote its output");
}

Test(client, before_connect_there_is_nothing) {
        struct buddyclient *client = NULL;
        struct buddyclient_range range = UNTOUCHED;
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_null(buddyclient_base(client));
        cr_assert_eq(buddyclient_size(client), 0);
        cr_assert_eq(buddyclient_page_size(client), 0);
        cr_assert_eq(buddyclient_id(client), 0);
        cr_assert_null(buddyclient_pointer(client, &range));
        cr_assert_eq(buddyclient_alloc(client, 4096, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_alloc_wait(client, 4096, 10, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_alloc_many(client, 4096, 1, &range), -ENOTCONN);
        expect_untouched(&range);
        cr_assert_eq(buddyclient_release(client, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_stats(client, &stats), -ENOTCONN);
        buddyclient_destroy(client);
        buddyclient_destroy(NULL);
}

Test(client, setters_judge_their_arguments) {
        char longest[256];
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        memset(longest, 'a', sizeof longest);
        longest[255] = 0;
        cr_expect_eq(buddyclient_set_socket(client, ""), -EINVAL);
        cr_expect_eq(buddyclient_set_socket(client, longest), -EINVAL);
        cr_expect_eq(buddyclient_set_pool(client, ""), -EINVAL);
        longest[49] = 0;
        cr_expect_eq(buddyclient_set_pool(client, longest), -EINVAL);
        longest[48] = 0;
        cr_expect_eq(buddyclient_set_pool(client, longest), 0);
        memset(longest, 'a', 64);
        longest[64] = 0;
        cr_expect_eq(buddyclient_set_name(client, longest), -EINVAL);
        longest[63] = 0;
        cr_expect_eq(buddyclient_set_name(client, longest), 0);
        cr_expect_eq(buddyclient_set_timeout_ms(client, -2), -EINVAL);
        cr_expect_eq(buddyclient_set_timeout_ms(client, -1), 0);
        cr_expect_eq(buddyclient_set_read_only(client, true), 0);
        cr_expect_eq(buddyclient_set_cache_bytes(client, MIB), 0);
        buddyclient_destroy(client);
}

Test(client, setters_after_connect_are_busy) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_expect_eq(buddyclient_set_socket(client, "/tmp/x"), -EBUSY);
        cr_expect_eq(buddyclient_set_pool(client, "x"), -EBUSY);
        cr_expect_eq(buddyclient_set_name(client, "x"), -EBUSY);
        cr_expect_eq(buddyclient_set_read_only(client, true), -EBUSY);
        cr_expect_eq(buddyclient_set_cache_bytes(client, 1), -EBUSY);
        cr_expect_eq(buddyclient_set_timeout_ms(client, 1), -EBUSY);
        cr_expect_eq(buddyclient_connect(client), -EBUSY);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, 1, &range), 0, "a busy setter broke the connection");
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(client, connect_says_who_is_missing_and_can_be_tried_again) {
        struct scene scene;
        struct buddyclient *client = NULL;
        scene_open(&scene);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_timeout_ms(client, IMPATIENT_MS);
        buddyclient_set_pool(client, "atlantis");
        cr_assert_eq(buddyclient_connect(client), -ENOTCONN);
        cr_assert_str_not_empty(buddyclient_detail(client));
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(buddyclient_connect(client), -ENOENT);
        cr_assert_not_null(
                strstr(buddyclient_detail(client), "atlantis"), "%s", buddyclient_detail(client));
        cr_assert_eq(buddyclient_set_pool(client, scene.pool), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

static int listener_open(const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, path, strlen(path));
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 8) == 0);
        return fd;
}

/* Connects to a peer that answers with these bytes and then stays silent or closes. */
static int connect_to_stranger(const char *answer, size_t length, bool stay) {
        struct scene scene;
        struct buddyclient *client = NULL;
        scene_open(&scene);
        int listener = listener_open(scene.socket);
        pid_t stranger = process_fork();
        if (stranger == 0) {
                int fd = accept(listener, NULL, NULL);
                if (length && write(fd, answer, length) < 0)
                        _exit(1);
                while (stay)
                        pause();
                char hello[512];
                if (read(fd, hello, sizeof hello) < 0)
                        _exit(1);
                _exit(0);
        }
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_timeout_ms(client, IMPATIENT_MS);
        uint64_t begin = now_ms();
        int result = buddyclient_connect(client);
        cr_assert_lt(now_ms() - begin, 5000, "the timeout is not kept");
        buddyclient_destroy(client);
        process_kill(stranger);
        close(listener);
        return result;
}

Test(client, a_stranger_on_the_socket_is_a_protocol_error) {
        cr_expect_eq(connect_to_stranger("HTTP/1.1 400 Bad Request\r\n\r\n", 28, true), -EPROTO);
        cr_expect_eq(connect_to_stranger("\5\0\0\0\377\377\377\377\377", 9, true), -EPROTO);
        cr_expect_eq(connect_to_stranger("\0\0\0\0", 4, true), -EPROTO);
}

Test(client, a_silent_peer_is_no_connection) {
        cr_expect_eq(connect_to_stranger("", 0, true), -ENOTCONN);
        cr_expect_eq(connect_to_stranger("", 0, false), -ENOTCONN);
        cr_expect_eq(connect_to_stranger("\377\0", 2, true), -ENOTCONN);
}

Test(client, version_and_words) {
        static const int errors[] = {-EINVAL, -E2BIG, -ENOMEM, -ETIMEDOUT, -EDQUOT, -ESTALE,
                -EACCES, -ENOENT, -ENOTCONN, -EPROTO, -EBUSY, 0, -9999, 77};
        cr_assert_str_eq(buddyclient_version(), BUDDYD_VERSION);
        for (size_t each = 0; each < sizeof errors / sizeof *errors; each++)
                cr_assert_str_not_empty(buddyclient_strerror(errors[each]));
        cr_assert_str_neq(buddyclient_strerror(-ESTALE), buddyclient_strerror(-EINVAL));
}
