#include "harness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

struct buddyclient *client_try(const struct scene *scene) {
        struct buddyclient *client = NULL;
        if (buddyclient_new(&client) != 0)
                return NULL;
        if (buddyclient_set_socket(client, scene->socket) == 0 &&
                buddyclient_set_pool(client, scene->pool) == 0 &&
                buddyclient_set_cache_bytes(client, 0) == 0 && buddyclient_connect(client) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}

struct buddyclient *client_caching(const struct scene *scene) {
        struct buddyclient *client = NULL;
        if (buddyclient_new(&client) != 0)
                return NULL;
        if (buddyclient_set_socket(client, scene->socket) == 0 &&
                buddyclient_set_pool(client, scene->pool) == 0 && buddyclient_connect(client) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}

struct buddyclient *client_caching_bytes(const struct scene *scene, uint64_t bytes) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, bytes), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        return client;
}

struct buddyclient *client_new(const struct scene *scene) {
        struct buddyclient *client = NULL;
        cr_assert_eq(buddyclient_new(&client), 0);
        cr_assert_eq(buddyclient_set_socket(client, scene->socket), 0);
        cr_assert_eq(buddyclient_set_pool(client, scene->pool), 0);
        cr_assert_eq(buddyclient_set_cache_bytes(client, 0), 0);
        int result = buddyclient_connect(client);
        cr_assert_eq(result, 0, "connect: %d %s", result, buddyclient_detail(client));
        return client;
}

struct buddyclient_stats stats_of(struct buddyclient *client) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        int result = buddyclient_stats(client, &stats);
        cr_assert_eq(result, 0, "stats: %d %s", result, buddyclient_detail(client));
        cr_assert_eq(stats.held_bytes + stats.cached_bytes + stats.free_bytes, stats.size_bytes,
                "held %lu + cached %lu + free %lu != size %lu", stats.held_bytes,
                stats.cached_bytes, stats.free_bytes, stats.size_bytes);
        return stats;
}

void expect_sound(const struct scene *scene) {
        const struct run *run = ctl(scene, "check", NULL);
        cr_assert_eq(run->status, 0, "check: status %d: %s%s", run->status, run->out, run->err);
        const struct json *stats = ctl_json(scene, "stats", "--json", NULL);
        const struct json *held = json_member(stats, "held_bytes"),
                          *cached = json_member(stats, "cached_bytes"),
                          *rest = json_member(stats, "free_bytes"),
                          *size = json_member(stats, "size_bytes");
        cr_assert(held && cached && rest && size);
        cr_assert_eq(held->integer + cached->integer + rest->integer, size->integer);
}

void expect_held(struct buddyclient *observer, uint64_t bytes) {
        uint64_t held = stats_of(observer).held_bytes;
        cr_assert_eq(held, bytes, "%lu bytes held, expected %lu", held, bytes);
}

static void moment_pass(void) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

void await_held(struct buddyclient *observer, uint64_t bytes) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (stats_of(observer).held_bytes != bytes) {
                cr_assert(now_ms() < deadline, "%lu bytes held for good, expected %lu",
                        stats_of(observer).held_bytes, bytes);
                moment_pass();
        }
}

void await_waiters(struct buddyclient *observer, uint64_t count) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (stats_of(observer).waiters != count) {
                cr_assert(now_ms() < deadline, "%lu waiters for good, expected %lu",
                        stats_of(observer).waiters, count);
                moment_pass();
        }
}

struct release {
        struct buddyclient *client;
        const struct buddyclient_range *range;
        pthread_t thread;
        int result;
};

static void *release_run(void *argument) {
        struct release *release = argument;
        release->result = buddyclient_release(release->client, release->range);
        return NULL;
}

void release_in_vain(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count) {
        struct release releases[32];
        cr_assert_leq(count, sizeof releases / sizeof *releases);
        for (size_t each = 0; each < count; each++) {
                struct release *release = &releases[each];
                *release = (struct release){.client = client, .range = &ranges[each]};
                cr_assert_eq(pthread_create(&release->thread, NULL, release_run, release), 0);
        }
        for (size_t each = 0; each < count; each++) {
                pthread_join(releases[each].thread, NULL);
                int result = releases[each].result;
                cr_assert(result == 0 || result == -ENOTCONN, "%d", result);
        }
}

int64_t scene_figure(const struct scene *scene, const char *name) {
        return json_member(ctl_json(scene, "stats", "--json", NULL), name)->integer;
}

void scene_await_figure(const struct scene *scene, const char *name, int64_t value) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (scene_figure(scene, name) != value) {
                cr_assert(now_ms() < deadline, "%s stays %ld, expected %ld", name,
                        (long)scene_figure(scene, name), (long)value);
                moment_pass();
        }
}

void scene_await_line(const struct scene *scene, const char *text) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (!strstr(scene_errors(scene), text)) {
                cr_assert(now_ms() < deadline, "no such line: %s", text);
                moment_pass();
        }
}
