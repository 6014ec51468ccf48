/* buddyctl from outside: every command there is, its exit status, and the JSON that scripts rely on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(buddyctl, .timeout = 90);

static const struct json *need(const struct json *object, const char *key, enum json_kind kind) {
        const struct json *value = json_member(object, key);
        cr_assert_not_null(value, "no key %s", key);
        bool fits = value->kind == kind || (kind == JSON_REAL && value->kind == JSON_INTEGER);
        cr_assert(fits, "%s is of another type (%d)", key, (int)value->kind);
        return value;
}

/* A column of a listing, whose JSON name may carry its unit. */
static int64_t need_column(const struct json *entry, const char *key, const char *with_unit) {
        const struct json *value = json_member(entry, key);
        if (!value)
                value = json_member(entry, with_unit);
        cr_assert_not_null(value, "neither %s nor %s", key, with_unit);
        cr_assert_eq(value->kind, JSON_INTEGER, "%s is no integer", key);
        return value->integer;
}

static void expect_orders(const struct json *list, uint64_t page_bytes) {
        int64_t order = 0;
        for (const struct json *each = list->first; each; each = each->next, order++) {
                cr_assert_eq(need(each, "order", JSON_INTEGER)->integer, order);
                cr_assert_eq((uint64_t)need(each, "block_bytes", JSON_INTEGER)->integer,
                        page_bytes << order);
                cr_assert_geq(need(each, "free_blocks", JSON_INTEGER)->integer, 0);
                cr_assert_geq(need(each, "held_blocks", JSON_INTEGER)->integer, 0);
                double unusable = need(each, "unusable_index", JSON_REAL)->number;
                cr_assert(unusable >= 0 && unusable <= 1, "unusable_index %f", unusable);
                double fragmentation = need(each, "fragmentation_index", JSON_REAL)->number;
                cr_assert(fragmentation == -1 || (fragmentation >= 0 && fragmentation <= 1),
                        "fragmentation_index %f", fragmentation);
        }
}

Test(buddyctl, ping_prints_a_time) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        const struct run *run = ctl(&scene, "ping", NULL);
        cr_assert_eq(run->status, 0);
        expect_one_line(run->out, "ping");
        cr_assert(has_digit(run->out), "%s", run->out);
        cr_assert_str_empty(run->err);
        ctl_json(&scene, "ping", "--json", NULL);
        scene_close(&scene);
}

Test(buddyctl, stats_has_every_key) {
        static const char *const integers[] = {"page_bytes", "size_bytes", "capacity_bytes",
                "held_bytes", "cached_bytes", "free_bytes", "largest_free_bytes", "resident_bytes",
                "clients", "waiters", "restarts", "uptime_seconds", "allocs_total", "frees_total",
                "cache_hits_total", "requested_bytes_total", "granted_bytes_total",
                "no_space_total", "quota_refusals_total", "reclaimed_bytes_total"};
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", NULL);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, 5000, &range), 0);
        const struct json *stats = ctl_json(&scene, "stats", "--json", NULL);
        cr_assert_str_eq(need(stats, "pool", JSON_STRING)->text, scene.pool);
        cr_assert_str_eq(need(stats, "backing", JSON_STRING)->text, "posix-shm");
        for (size_t each = 0; each < sizeof integers / sizeof *integers; each++)
                cr_assert_geq(need(stats, integers[each], JSON_INTEGER)->integer, 0);
        const struct json *orders = need(stats, "orders", JSON_LIST);
        cr_assert_geq(orders->count, 13, "16 MiB of 4 KiB pages have 13 orders");
        expect_orders(orders, SCENE_PAGE);
        const struct json *latency = need(stats, "latency_us", JSON_OBJECT);
        static const char *const sides[] = {"alloc", "free"}, *const points[] = {
                                                                      "p50", "p99", "p999", "max"};
        for (size_t side = 0; side < 2; side++)
                for (size_t point = 0; point < 4; point++) {
                        const struct json *of = need(latency, sides[side], JSON_OBJECT);
                        cr_assert_geq(need(of, points[point], JSON_REAL)->number, 0);
                }
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(buddyctl, stats_figures_are_right) {
        struct scene scene;
        struct buddyclient_range ranges[3];
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 5000, &ranges[0]), 0);
        cr_assert_eq(buddyclient_alloc(client, 4096, &ranges[1]), 0);
        cr_assert_eq(buddyclient_alloc(client, 8 * MIB, &ranges[2]), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[1]), 0);
        cr_assert_eq(buddyclient_alloc(client, 8 * MIB, &ranges[1]), -ENOMEM);
        const struct json *stats = ctl_json(&scene, "stats", "--json", NULL);
        cr_expect_eq(json_member(stats, "held_bytes")->integer, 8192 + (8 << 20));
        cr_expect_eq(json_member(stats, "free_bytes")->integer, (8 << 20) - 8192);
        cr_expect_eq(json_member(stats, "largest_free_bytes")->integer, 4 << 20);
        cr_expect_eq(json_member(stats, "resident_bytes")->integer, 16 << 20);
        cr_expect_eq(json_member(stats, "capacity_bytes")->integer, 16 << 20);
        cr_expect_eq(
                json_member(stats, "clients")->integer, 1, "buddyctl is no client of the pool");
        cr_expect_eq(json_member(stats, "waiters")->integer, 0);
        cr_expect_eq(json_member(stats, "allocs_total")->integer, 3);
        cr_expect_eq(json_member(stats, "frees_total")->integer, 1);
        cr_expect_eq(json_member(stats, "requested_bytes_total")->integer, 9096 + (8 << 20));
        cr_expect_eq(json_member(stats, "granted_bytes_total")->integer, 12288 + (8 << 20));
        cr_expect_eq(json_member(stats, "no_space_total")->integer, 1);
        cr_expect_eq(json_member(stats, "restarts")->integer, 0);
        const struct json *latency = json_member(stats, "latency_us");
        cr_expect_gt(json_member(json_member(latency, "alloc"), "max")->number, 0);

        int64_t free_bytes = 0, held_bytes = 0;
        const struct json *orders = json_member(stats, "orders");
        for (const struct json *each = orders->first; each; each = each->next) {
                int64_t block = json_member(each, "block_bytes")->integer;
                free_bytes += block * json_member(each, "free_blocks")->integer;
                held_bytes += block * json_member(each, "held_blocks")->integer;
        }
        cr_expect_eq(free_bytes, (8 << 20) - 8192, "free blocks add up to %ld", (long)free_bytes);
        cr_expect_eq(held_bytes, 8192 + (8 << 20), "held blocks add up to %ld", (long)held_bytes);
        buddyclient_destroy(client);
        stats = ctl_json(&scene, "stats", "--json", NULL);
        cr_expect_eq(json_member(stats, "reclaimed_bytes_total")->integer % 4096, 0);
        cr_expect_eq(json_member(stats, "largest_free_bytes")->integer, 16 << 20);
        scene_close(&scene);
}

/* Linux's definitions, on a pool whose free memory is 8 single pages between held ones and one block of 16. */
Test(buddyctl, fragmentation_indexes_are_linuxs) {
        struct scene scene;
        struct buddyclient_range ranges[32];
        scene_open(&scene);
        scene_start(&scene, "--size", "128K", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 32, ranges), 0);
        for (size_t each = 0; each < 32; each++) {
                uint64_t page = ranges[each].offset / SCENE_PAGE;
                if (page >= 16 || page % 2 == 0)
                        cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        }
        const struct json *list =
                json_list_with(ctl_json(&scene, "orders", "--json", NULL), "order");
        cr_assert_not_null(list);
        expect_orders(list, SCENE_PAGE);
        for (const struct json *each = list->first; each; each = each->next) {
                int64_t order = json_member(each, "order")->integer;
                double unusable = json_member(each, "unusable_index")->number;
                double fragmentation = json_member(each, "fragmentation_index")->number;
                int64_t free_blocks = json_member(each, "free_blocks")->integer;
                cr_expect_eq(free_blocks, order == 0 ? 8 : order == 4 ? 1 : 0);
                double expected = order == 0 ? 0 : order <= 4 ? 8.0 / 24 : 1;
                cr_expect_float_eq(
                        unusable, expected, 0.001, "order %ld: unusable %f", (long)order, unusable);
                if (order <= 4) {
                        cr_expect_eq(fragmentation, -1, "order %ld could be granted", (long)order);
                } else {
                        double share = 1 - (1 + 24.0 / (double)(1 << order)) / 9;
                        cr_expect_float_eq(fragmentation, share, 0.002,
                                "order %ld: %f, expected %f", (long)order, fragmentation, share);
                }
        }
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(buddyctl, orders_prints_a_table) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        const struct run *run = ctl(&scene, "orders", NULL);
        cr_assert_eq(run->status, 0);
        cr_assert_str_empty(run->err);
        size_t lines = 0;
        for (const char *at = run->out; (at = strchr(at, '\n')); at++)
                lines++;
        cr_assert_geq(lines, 9, "1 MiB has 9 orders: %s", run->out);
        scene_close(&scene);
}

static const struct json *client_entry(const struct scene *scene, uint32_t id) {
        const struct json *document = ctl_json(scene, "clients", "--json", NULL);
        const struct json *list = json_list_with(document, "id");
        for (const struct json *each = list ? list->first : NULL; each; each = each->next)
                if (need(each, "id", JSON_INTEGER)->integer == id)
                        return each;
        return NULL;
}

Test(buddyctl, clients_says_who_is_connected) {
        struct scene scene;
        struct buddyclient *client = NULL;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(json_list_with(ctl_json(&scene, "clients", "--json", NULL), "id"), NULL);
        cr_assert_eq(buddyclient_new(&client), 0);
        buddyclient_set_socket(client, scene.socket);
        buddyclient_set_pool(client, scene.pool);
        buddyclient_set_cache_bytes(client, 0);
        cr_assert_eq(buddyclient_set_name(client, "na\"me \\ of m\303\266in"), 0);
        cr_assert_eq(buddyclient_connect(client), 0);
        cr_assert_eq(buddyclient_alloc(client, 10000, &range), 0);

        const struct json *entry = client_entry(&scene, buddyclient_id(client));
        cr_assert_not_null(entry, "the client is not listed");
        cr_assert_str_eq(need(entry, "name", JSON_STRING)->text, "na\"me \\ of m\303\266in");
        cr_assert_eq(need(entry, "pid", JSON_INTEGER)->integer, getpid());
        cr_assert_eq((uid_t)need(entry, "uid", JSON_INTEGER)->integer, getuid());
        cr_assert_eq(need_column(entry, "held", "held_bytes"), 16384);
        cr_assert_eq(need_column(entry, "cached", "cached_bytes"), 0);
        cr_assert_eq(need_column(entry, "waiting", "waiting"), 0);
        const struct run *run = ctl(&scene, "clients", NULL);
        cr_assert_eq(run->status, 0);
        cr_assert_eq(ctl(&scene, "clients", "--sort", "held", NULL)->status, 0);
        uint32_t id = buddyclient_id(client);
        buddyclient_destroy(client);
        cr_assert_null(client_entry(&scene, id));
        scene_close(&scene);
}

/* Whatever a program calls itself, an operator's screen and scripts stay whole. */
Test(buddyctl, names_with_control_characters_do_not_reach_the_screen) {
        static const char *const names[] = {
                "tab\there", "line\nbreak", "bell\033]0;x\007", "bad\377utf"};
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        for (size_t each = 0; each < sizeof names / sizeof *names; each++) {
                struct buddyclient *client = NULL;
                cr_assert_eq(buddyclient_new(&client), 0);
                buddyclient_set_socket(client, scene.socket);
                buddyclient_set_pool(client, scene.pool);
                if (buddyclient_set_name(client, names[each]) == 0) {
                        int result = buddyclient_connect(client);
                        cr_expect(result == 0 || result == -EINVAL, "name %zu: %d", each, result);
                        ctl_json(&scene, "clients", "--json", NULL);
                        const struct run *run = ctl(&scene, "clients", NULL);
                        cr_expect_null(strpbrk(run->out, "\t\033\007"), "%s", run->out);
                }
                buddyclient_destroy(client);
        }
        scene_close(&scene);
}

Test(buddyctl, clients_sorts) {
        static const char *const keys[] = {"id", "name", "pid", "uid", "held", "cached", "waiting"};
        struct scene scene;
        struct buddyclient *clients[3];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        for (size_t each = 0; each < 3; each++) {
                struct buddyclient_range range;
                clients[each] = client_new(&scene);
                cr_assert_eq(buddyclient_alloc(
                                     clients[each], (uint64_t[]){8192, 32768, 4096}[each], &range),
                        0);
        }
        for (size_t each = 0; each < sizeof keys / sizeof *keys; each++) {
                const struct run *run =
                        ctl(&scene, "clients", "--sort", keys[each], "--json", NULL);
                cr_expect_eq(run->status, 0, "--sort %s: %s", keys[each], run->err);
        }
        const struct json *list =
                json_list_with(ctl_json(&scene, "clients", "--sort", "held", "--json", NULL), "id");
        cr_assert(list && list->count == 3);
        int64_t first = need_column(list->first, "held", "held_bytes");
        int64_t second = need_column(list->first->next, "held", "held_bytes");
        int64_t third = need_column(list->first->next->next, "held", "held_bytes");
        cr_assert((first >= second && second >= third) || (first <= second && second <= third),
                "not sorted: %ld %ld %ld", (long)first, (long)second, (long)third);
        ctl_refused(&scene, 2, "clients", "--sort", "colour", NULL);
        for (size_t each = 0; each < 3; each++)
                buddyclient_destroy(clients[each]);
        scene_close(&scene);
}

Test(buddyctl, ranges_lists_every_hold) {
        struct scene scene;
        struct buddyclient_range mine[200], others;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 200, mine), 0);
        cr_assert_eq(buddyclient_alloc(other, 65536, &others), 0);
        const struct json *list =
                json_list_with(ctl_json(&scene, "ranges", "--json", NULL), "offset");
        cr_assert(list && list->count == 201, "%zu ranges", list ? list->count : 0);
        for (const struct json *each = list->first; each; each = each->next) {
                cr_assert(need(each, "offset", JSON_INTEGER)->integer % 4096 == 0);
                cr_assert_geq(need(each, "length", JSON_INTEGER)->integer, 4096);
        }
        char id[16];
        snprintf(id, sizeof id, "%u", buddyclient_id(other));
        list = json_list_with(ctl_json(&scene, "ranges", "--client", id, "--json", NULL), "offset");
        cr_assert(list && list->count == 1);
        cr_assert_eq((uint64_t)json_member(list->first, "offset")->integer, others.offset);
        cr_assert_eq(json_member(list->first, "length")->integer, 65536);
        cr_assert_eq(ctl(&scene, "ranges", NULL)->status, 0);
        ctl_refused(&scene, 2, "ranges", "--client", "somebody", NULL);
        buddyclient_destroy(client);
        buddyclient_destroy(other);
        cr_assert_null(json_list_with(ctl_json(&scene, "ranges", "--json", NULL), "offset"));
        scene_close(&scene);
}

/* More than fits into one reply of a megabyte. */
Test(buddyctl, ranges_lists_a_hundred_thousand) {
        struct scene scene;
        static struct buddyclient_range ranges[4096];
        scene_open(&scene);
        scene_start(&scene, "--size", "400M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_new(&scene);
        for (int batch = 0; batch < 24; batch++)
                cr_assert_eq(buddyclient_alloc_many(client, SCENE_PAGE, 4096, ranges), 0);
        const struct json *list =
                json_list_with(ctl_json(&scene, "ranges", "--json", NULL), "offset");
        cr_assert(list && list->count == 24 * 4096, "%zu ranges", list ? list->count : 0);
        bool *seen = calloc(400 * MIB / SCENE_PAGE, sizeof *seen);
        for (const struct json *each = list->first; each; each = each->next) {
                bool *page = &seen[json_member(each, "offset")->integer / 4096];
                cr_assert_not(*page, "a range is listed twice");
                *page = true;
        }
        free(seen);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(buddyctl, alloc_and_free_by_hand) {
        struct scene scene;
        char offset[32], inside[32];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        const struct run *run = ctl(&scene, "alloc", "10000", NULL);
        cr_assert_eq(run->status, 0, "%s", run->err);
        cr_assert(has_digit(run->out));
        const struct json *range = ctl_json(&scene, "alloc", "--json", "16K", NULL);
        int64_t where = need(range, "offset", JSON_INTEGER)->integer;
        cr_assert_eq(need(range, "length", JSON_INTEGER)->integer, 16384);
        cr_assert_eq(where % 16384, 0);
        snprintf(offset, sizeof offset, "%ld", (long)where);
        snprintf(inside, sizeof inside, "%ld", (long)where + 4096);

        ctl_refused(&scene, 1, "free", inside, NULL);
        cr_assert_eq(ctl(&scene, "free", offset, NULL)->status, 0);
        ctl_refused(&scene, 1, "free", offset, NULL);
        ctl_refused(&scene, 1, "free", "99999999999", NULL);
        ctl_refused(&scene, 1, "free", "1", NULL);
        ctl_refused(&scene, 1, "alloc", "2M", NULL);
        const char *line = ctl_refused(&scene, 1, "alloc", "1M", NULL);
        cr_assert(has_digit(line), "a full pool is refused without figures: %s", line);
        cr_assert_eq(json_member(ctl_json(&scene, "stats", "--json", NULL), "held_bytes")->integer,
                16384);
        scene_close(&scene);
}

/* Nobody could return what nobody was told of. */
Test(buddyctl, alloc_returns_what_it_could_not_tell) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        const char *arguments[] = {"/bin/sh", "-c", "exec \"$@\" >/dev/full", "sh",
                program_buddyctl(), "--socket", scene.socket, "--pool", scene.pool, "alloc", "4K",
                NULL, NULL};
        for (unsigned each = 0; each < 2; each++) {
                arguments[11] = each ? "--json" : NULL;
                const struct run *run = program_run(&scene, arguments);
                cr_assert_eq(run->status, 1, "%s", run->err);
                expect_one_line(run->err, "a hold that nobody learned of");
                cr_assert_not_null(strstr(run->err, "returned"), "%s", run->err);
                cr_assert_eq(json_member(ctl_json(&scene, "stats", "--json", NULL), "held_bytes")
                                     ->integer,
                        0);
        }
        scene_close(&scene);
}

/* A pipe whose reader has gone before anything was written. */
Test(buddyctl, alloc_returns_what_nobody_reads) {
        struct scene scene;
        int pipe_fds[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        cr_assert_eq(pipe(pipe_fds), 0);
        close(pipe_fds[0]);
        pid_t process = process_fork();
        if (process == 0) {
                dup2(pipe_fds[1], 1);
                execl(program_buddyctl(), "buddyctl", "--socket", scene.socket, "--pool",
                        scene.pool, "alloc", "4K", NULL);
                _exit(127);
        }
        close(pipe_fds[1]);
        cr_assert_eq(process_wait(process), 1);
        cr_assert_eq(
                json_member(ctl_json(&scene, "stats", "--json", NULL), "held_bytes")->integer, 0);
        scene_close(&scene);
}

/* What a program holds is the program's: an operator's free must not pull it from under it. */
Test(buddyctl, free_does_not_touch_a_clients_range) {
        struct scene scene;
        struct buddyclient_range range;
        char offset[32];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 4096, &range), 0);
        snprintf(offset, sizeof offset, "%lu", (unsigned long)range.offset);
        ctl_refused(&scene, 1, "free", offset, NULL);
        expect_held(client, 4096);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(buddyctl, check_says_what_it_checked) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        const struct run *run = ctl(&scene, "check", NULL);
        cr_assert_eq(run->status, 0);
        cr_assert(has_digit(run->out), "%s", run->out);
        cr_assert_str_empty(run->err);
        ctl_json(&scene, "check", "--json", NULL);
        scene_close(&scene);
}

Test(buddyctl, watch_goes_on) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", NULL);
        int out[2];
        cr_assert(pipe(out) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                dup2(out[1], 1);
                close_range(3, ~0u, 0);
                execl(program_buddyctl(), "buddyctl", "--socket", scene.socket, "--pool",
                        scene.pool, "stats", "--watch", "1", "--json", (char *)NULL);
                _exit(127);
        }
        close(out[1]);
        char text[65536] = "";
        size_t length = 0;
        for (unsigned documents = 0; documents < 2;) {
                struct pollfd wait = {.fd = out[0], .events = POLLIN};
                cr_assert_eq(poll(&wait, 1, PATIENCE_MS), 1, "--watch printed %u times", documents);
                ssize_t got = read(out[0], text + length, sizeof text - 1 - length);
                cr_assert_gt(got, 0, "--watch ended after %u: %s", documents, text);
                length += (size_t)got;
                text[length] = 0;
                documents = 0;
                for (const char *at = text; *at && json_parse(at, &at);)
                        documents++;
        }
        close(out[0]);
        kill(process, SIGINT);
        process_wait(process);
        ctl_refused(&scene, 2, "stats", "--watch", "often", NULL);
        ctl_refused(&scene, 2, "stats", "--watch", "0", NULL);
        ctl_refused(&scene, 2, "stats", "--watch", "-1", NULL);
        scene_close(&scene);
}
