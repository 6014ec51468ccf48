/* Errors in words, arguments that are refused here, and calls in the wrong state. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/buddyclient.h"

static struct buddyclient *client;

static void setup(void) {
        cr_assert_eq(buddyclient_new(&client), 0);
}

static void teardown(void) {
        buddyclient_destroy(client);
}

TestSuite(arguments, .init = setup, .fini = teardown);

Test(error, every_number_has_words) {
        const int known[] = {0, EINVAL, E2BIG, ENOMEM, ETIMEDOUT, EDQUOT, ESTALE, EACCES, ENOENT,
                ENOTCONN, EPROTO, EBUSY};
        const char *unknown = buddyclient_strerror(-9999);
        cr_assert_not_null(unknown);
        for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
                cr_assert_str_neq(buddyclient_strerror(-known[i]), unknown);
        cr_assert_str_neq(buddyclient_strerror(-ESTALE), buddyclient_strerror(-ENOENT));
}

Test(error, version_has_three_numbers) {
        unsigned major, minor, patch;
        cr_assert_eq(sscanf(buddyclient_version(), "%u.%u.%u", &major, &minor, &patch), 3);
}

Test(error, null_client_is_refused_everywhere) {
        struct buddyclient_range range = {0, 4096, 1};
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        cr_assert_eq(buddyclient_new(NULL), -EINVAL);
        cr_assert_eq(buddyclient_set_socket(NULL, "/x"), -EINVAL);
        cr_assert_eq(buddyclient_set_pool(NULL, "x"), -EINVAL);
        cr_assert_eq(buddyclient_set_name(NULL, "x"), -EINVAL);
        cr_assert_eq(buddyclient_set_read_only(NULL, true), -EINVAL);
        cr_assert_eq(buddyclient_set_cache_bytes(NULL, 0), -EINVAL);
        cr_assert_eq(buddyclient_set_timeout_ms(NULL, 1), -EINVAL);
        cr_assert_eq(buddyclient_connect(NULL), -EINVAL);
        cr_assert_eq(buddyclient_alloc(NULL, 1, &range), -EINVAL);
        cr_assert_eq(buddyclient_alloc_wait(NULL, 1, 0, &range), -EINVAL);
        cr_assert_eq(buddyclient_alloc_many(NULL, 1, 1, &range), -EINVAL);
        cr_assert_eq(buddyclient_release(NULL, &range), -EINVAL);
        cr_assert_eq(buddyclient_release_many(NULL, &range, 1), -EINVAL);
        cr_assert_eq(buddyclient_stats(NULL, &stats), -EINVAL);
        cr_assert_null(buddyclient_base(NULL));
        cr_assert_null(buddyclient_pointer(NULL, &range));
        cr_assert_eq(buddyclient_size(NULL), 0);
        cr_assert_eq(buddyclient_page_size(NULL), 0);
        cr_assert_eq(buddyclient_id(NULL), 0);
        cr_assert_str_eq(buddyclient_detail(NULL), "");
        buddyclient_destroy(NULL);
}

Test(arguments, before_connect_nothing_is_there) {
        struct buddyclient_range range = {0, 4096, 1};
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        cr_assert_eq(buddyclient_alloc(client, 1, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_alloc_wait(client, 1, 0, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 1, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_release(client, &range), -ENOTCONN);
        cr_assert_eq(buddyclient_release_many(client, &range, 1), -ENOTCONN);
        cr_assert_eq(buddyclient_stats(client, &stats), -ENOTCONN);
        cr_assert_null(buddyclient_base(client));
        cr_assert_null(buddyclient_pointer(client, &range));
        cr_assert_eq(buddyclient_size(client), 0);
        cr_assert_eq(buddyclient_page_size(client), 0);
        cr_assert_eq(buddyclient_id(client), 0);
        cr_assert_eq(range.generation, 1);
}

Test(arguments, setters_take_what_fits) {
        char text[256];
        memset(text, 'p', sizeof(text));
        text[48] = '\0';
        cr_assert_eq(buddyclient_set_pool(client, text), 0);
        text[48] = 'p';
        text[49] = '\0';
        cr_assert_eq(buddyclient_set_pool(client, text), -EINVAL);
        cr_assert_eq(buddyclient_set_pool(client, ""), -EINVAL);
        cr_assert_eq(buddyclient_set_pool(client, NULL), -EINVAL);
        text[49] = 'p';
        text[63] = '\0';
        cr_assert_eq(buddyclient_set_name(client, text), 0);
        text[63] = 'p';
        text[64] = '\0';
        cr_assert_eq(buddyclient_set_name(client, text), -EINVAL);
        cr_assert_eq(buddyclient_set_name(client, NULL), -EINVAL);
        cr_assert_eq(buddyclient_set_name(client, "a\nb"), -EINVAL);
        cr_assert_str_eq(buddyclient_detail(client), "a name has no control characters");
        text[64] = 'p';
        text[107] = '\0';
        cr_assert_eq(buddyclient_set_socket(client, text), 0);
        text[107] = 'p';
        text[108] = '\0';
        cr_assert_eq(buddyclient_set_socket(client, text), -EINVAL);
        cr_assert_eq(buddyclient_set_socket(client, ""), -EINVAL);
        cr_assert_eq(buddyclient_set_socket(client, NULL), -EINVAL);
        cr_assert_eq(buddyclient_set_timeout_ms(client, -2), -EINVAL);
        cr_assert_eq(buddyclient_set_timeout_ms(client, -1), 0);
        cr_assert_eq(buddyclient_set_read_only(client, true), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, UINT64_MAX), 0);
}

Test(arguments, no_daemon_is_not_connected_and_says_where) {
        cr_assert_eq(buddyclient_set_socket(client, "/nonexistent/sock"), 0);
        cr_assert_eq(buddyclient_connect(client), -ENOTCONN);
        cr_assert_not_null(strstr(buddyclient_detail(client), "/nonexistent/sock"));
}

Test(arguments, environment_names_the_socket) {
        setenv("BUDDYD_SOCKET", "/nonexistent/from-environment", 1);
        cr_assert_eq(buddyclient_connect(client), -ENOTCONN);
        cr_assert_not_null(strstr(buddyclient_detail(client), "/nonexistent/from-environment"));
}

static void *detail_here(void *context) {
        return strdup(buddyclient_detail(context));
}

Test(arguments, detail_is_this_threads_and_this_clients) {
        struct buddyclient *other;
        cr_assert_eq(buddyclient_new(&other), 0);
        cr_assert_str_eq(buddyclient_detail(client), "");
        cr_assert_eq(buddyclient_set_timeout_ms(client, -2), -EINVAL);
        cr_assert_str_eq(buddyclient_detail(client), "a timeout of -2 ms");
        cr_assert_str_eq(buddyclient_detail(other), "");
        pthread_t thread;
        void *there;
        cr_assert_eq(pthread_create(&thread, NULL, detail_here, client), 0);
        cr_assert_eq(pthread_join(thread, &there), 0);
        cr_assert_str_eq(there, "");
        free(there);
        buddyclient_destroy(other);
}
