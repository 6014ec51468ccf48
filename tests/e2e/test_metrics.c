/* Metrics from outside: that they say what stats and clients say, whose they are, and that counters never fall. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "wire.h"

TestSuite(metrics, .timeout = 90);

/* The value of the sample that begins so, up to its blank. */
static double sample(const char *text, const char *name) {
        size_t length = strlen(name);
        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                if (strncmp(line, name, length) == 0 && line[length] == ' ')
                        return strtod(line + length + 1, NULL);
        }
        cr_assert_fail("no sample %s", name);
        return 0;
}

static double pool_sample(const struct scene *scene, const char *text, const char *name) {
        char whole[160];
        snprintf(whole, sizeof whole, "%s{pool=\"%s\"}", name, scene->pool);
        return sample(text, whole);
}

static double uid_sample(const struct scene *scene, const char *text, const char *name) {
        char whole[160];
        snprintf(whole, sizeof whole, "%s{pool=\"%s\",uid=\"%u\"}", name, scene->pool, geteuid());
        return sample(text, whole);
}

static double refused(const struct scene *scene, const char *text, const char *reason) {
        char whole[200];
        snprintf(whole, sizeof whole,
                "buddyd_uid_refusals_total{pool=\"%s\",uid=\"%u\",reason=\"%s\"}", scene->pool,
                geteuid(), reason);
        return sample(text, whole);
}

/* What buddyctl metrics prints with the socket alone. */
static const char *metrics(const struct scene *scene) {
        const char *const words[] = {
                program_buddyctl(), "--socket", scene->socket, "metrics", NULL};
        const struct run *run = program_run(scene, words);
        cr_assert_eq(run->status, 0, "%s", run->err);
        size_t length = strlen(run->out);
        cr_assert_geq(length, 6);
        cr_assert_str_eq(run->out + length - 6, "# EOF\n");
        return run->out;
}

Test(metrics, say_what_stats_say) {
        struct scene scene;
        struct buddyclient_range ranges[8];
        scene_open(&scene);
        scene_start(&scene, "--size", "16M", NULL);
        struct buddyclient *client = client_new(&scene);
        for (size_t i = 0; i < 8; i++)
                cr_assert_eq(buddyclient_alloc(client, 5000 << i, &ranges[i]), 0);
        for (size_t i = 0; i < 8; i += 2)
                cr_assert_eq(buddyclient_release(client, &ranges[i]), 0);
        cr_assert_eq(buddyclient_alloc(client, 16 * MIB, &ranges[0]), -ENOMEM);
        cr_assert_eq(buddyclient_alloc(client, 17 * MIB, &ranges[0]), -E2BIG);
        cr_assert_eq(buddyclient_release(client, &ranges[2]), -ESTALE);

        const struct json *stats = ctl_json(&scene, "stats", "--json", NULL);
        const char *text = metrics(&scene);
        static const char *const same[] = {"page_bytes", "size_bytes", "capacity_bytes",
                "held_bytes", "cached_bytes", "free_bytes", "largest_free_bytes", "resident_bytes",
                "clients", "waiters", "allocs_total", "frees_total", "requested_bytes_total",
                "granted_bytes_total", "no_space_total", "reclaimed_bytes_total",
                "cache_hits_total"};
        for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
                char name[80];
                snprintf(name, sizeof name, "buddyd_pool_%s", same[i]);
                cr_expect_float_eq(pool_sample(&scene, text, name),
                        json_member(stats, same[i])->number, 0.5, "%s", name);
        }
        cr_expect_float_eq(
                pool_sample(&scene, text, "buddyd_pool_alloc_duration_seconds_count"), 10, 0);
        cr_expect_float_eq(
                pool_sample(&scene, text, "buddyd_pool_free_duration_seconds_count"), 5, 0);
        cr_expect_gt(pool_sample(&scene, text, "buddyd_pool_alloc_duration_seconds_sum"), 0);
        cr_expect_float_eq(uid_sample(&scene, text, "buddyd_uid_held_bytes"),
                json_member(stats, "held_bytes")->number, 0.5);
        cr_expect_float_eq(uid_sample(&scene, text, "buddyd_uid_held_ranges"), 4, 0);
        cr_expect_float_eq(uid_sample(&scene, text, "buddyd_uid_clients"), 1, 0);
        cr_expect_float_eq(refused(&scene, text, "no_space"), 1, 0);
        cr_expect_float_eq(refused(&scene, text, "too_big"), 1, 0);
        cr_expect_float_eq(refused(&scene, text, "stale"), 1, 0);
        cr_expect_float_eq(refused(&scene, text, "quota"), 0, 0);
        cr_expect_null(strstr(text, "pid"), "a label grows with the processes");
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(metrics, refusals_outlive_the_client_that_met_them) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        for (int round = 1; round <= 3; round++) {
                struct buddyclient *client = client_new(&scene);
                cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &range), 0);
                cr_assert_eq(buddyclient_alloc_wait(client, SCENE_PAGE, 1, &range), -ETIMEDOUT);
                buddyclient_destroy(client);
                const char *text = metrics(&scene);
                cr_expect_float_eq(refused(&scene, text, "timed_out"), round, 0);
                cr_expect_float_eq(pool_sample(&scene, text, "buddyd_pool_allocs_total"), round, 0);
        }
        scene_close(&scene);
}

/* So many pools, each of many orders, that the text needs several pages; they must join without a seam. */
#define POOLS 26

static void write_config(const struct scene *scene, char path[200]) {
        snprintf(path, 200, "%s/many.conf", scene->folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        for (int i = 0; i < POOLS; i++)
                fprintf(file,
                        "[pool %s-%d-with-a-name-that-takes-room]\nsize = 4M\nmax-size = "
                        "8T\ncommit = lazy\n",
                        scene->pool, i);
        cr_assert_eq(fclose(file), 0);
}

Test(metrics, come_in_as_many_pages_as_it_takes) {
        struct scene scene;
        char config[200];
        scene_open(&scene);
        write_config(&scene, config);
        scene.bare = true;
        scene_start(&scene, "--socket", scene.socket, "--config", config, NULL);
        struct wire wire;
        struct reply reply;
        wire_open(&wire, &scene); /* and no hello */
        size_t pages = 0, bytes = 0;
        uint64_t cursor = 0;
        do {
                wire_request(&wire,
                        (struct request){.kind = REQUEST_METRICS, .metrics = {.cursor = cursor}});
                cr_assert(wire_reply(&wire, &reply));
                cr_assert_eq(reply.kind, REPLY_TEXT);
                bytes += strlen(reply.text.text);
                cursor = reply.text.next_cursor;
                cr_assert(cursor == 0 || cursor == bytes);
                pages++;
        } while (cursor != 0);
        cr_expect_geq(pages, 2);
        /* What was fetched is gone. */
        wire_request(
                &wire, (struct request){.kind = REQUEST_METRICS, .metrics = {.cursor = bytes / 2}});
        cr_assert(wire_reply(&wire, &reply));
        cr_assert_eq(reply.kind, REPLY_REFUSED);
        cr_assert_eq(reply.refused.status, STATUS_INVALID);
        wire_request(&wire, (struct request){.kind = REQUEST_METRICS, .metrics = {.format = 2}});
        cr_assert(wire_reply(&wire, &reply));
        cr_assert_eq(reply.kind, REPLY_REFUSED);
        wire_close(&wire);

        const char *text = metrics(&scene);
        cr_expect_gt(strlen(text), MESSAGE_PAGE_MAX);
        for (int i = 0; i < POOLS; i++) {
                char name[160];
                snprintf(name, sizeof name,
                        "buddyd_order_fragmentation_index{pool=\"%s-%d-with-a-name-that-takes-"
                        "room\",order=\"31\"}",
                        scene.pool, i);
                cr_expect_float_eq(sample(text, name), 0, 1);
        }
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        cr_assert_eq(scene_shm_count(&scene), 0);
}

/* A caching client that writes any figure into its own memory, or ends, must not make the counter fall. */
Test(metrics, cache_hits_never_fall) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", NULL);
        double last = 0;
        for (int round = 0; round < 3; round++) {
                struct buddyclient *client = client_caching(&scene);
                struct buddyclient_range range;
                for (int i = 0; i < 100; i++) {
                        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &range), 0);
                        cr_assert_eq(buddyclient_release(client, &range), 0);
                }
                double hits = pool_sample(&scene, metrics(&scene), "buddyd_pool_cache_hits_total");
                cr_expect_geq(hits, last + 50);
                buddyclient_destroy(client);
                last = pool_sample(&scene, metrics(&scene), "buddyd_pool_cache_hits_total");
                cr_expect_geq(last, hits);
        }
        scene_close(&scene);
}

static size_t files_in(const char *folder) {
        DIR *stream = opendir(folder);
        size_t count = 0;
        while (readdir(stream))
                count++;
        closedir(stream);
        return count;
}

Test(metrics, a_textfile_is_replaced_or_left_alone) {
        struct scene scene;
        char path[200], gone[200];
        struct stat before, after;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        snprintf(path, sizeof path, "%s/buddyd.prom", scene.folder);
        snprintf(gone, sizeof gone, "%s/none/buddyd.prom", scene.folder);
        cr_assert_eq(ctl(&scene, "metrics", "--textfile", path, NULL)->status, 0);
        cr_assert_eq(stat(path, &before), 0);
        cr_expect_eq(before.st_mode & 0444, 0444, "a collector is another user");
        size_t files = files_in(scene.folder);
        cr_assert_eq(ctl(&scene, "metrics", "--textfile", path, NULL)->status, 0);
        cr_assert_eq(stat(path, &after), 0);
        cr_expect_neq(after.st_ino, before.st_ino, "written in place");
        cr_expect_eq(files_in(scene.folder), files, "something was left beside it");
        const char *line = ctl_refused(&scene, 1, "metrics", "--textfile", gone, NULL);
        cr_expect_not_null(strstr(line, gone), "%s", line);

        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        ctl_refused(&scene, 3, "metrics", "--textfile", path, NULL);
        cr_assert_eq(stat(path, &before), 0);
        cr_expect_eq(after.st_ino, before.st_ino, "lost when the daemon was away");
}

Test(metrics, misuse_is_one_line) {
        static const char *const wrong[][5] = {{"metrics", "extra"}, {"metrics", "--format"},
                {"metrics", "--format", "xml"}, {"metrics", "--listen", "9464"},
                {"metrics", "--listen", "127.0.0.1:"}, {"metrics", "--listen", "127.0.0.1:99999"},
                {"metrics", "--listen", "127.0.0.1:80x"}, {"metrics", "--listen", ":80"},
                {"metrics", "--listen", "::1:80"},
                {"metrics", "--listen=127.0.0.1:0", "--textfile", "x"},
                {"metrics", "--listen=127.0.0.1:0", "--format", "prometheus"}};
        struct scene scene;
        scene_open(&scene);
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                ctl_refused(&scene, 2, wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3],
                        wrong[i][4], NULL);
        ctl_refused(&scene, 1, "metrics", "--listen", "192.0.2.1:9464", NULL);
        ctl_refused(&scene, 3, "metrics", NULL);
}

/* Sends, ends its side, and returns all that comes. */
static char *socket_says(const char *path, const char *question) {
        static char answer[65536];
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        cr_assert_eq(send(fd, question, strlen(question), MSG_NOSIGNAL), (ssize_t)strlen(question));
        if (!*question)
                shutdown(fd, SHUT_WR);
        size_t length = 0;
        ssize_t got;
        while ((got = recv(fd, answer + length, sizeof answer - 1 - length, 0)) > 0)
                length += (size_t)got;
        close(fd);
        answer[length] = '\0';
        return answer;
}

Test(metrics, have_a_socket_of_their_own) {
        struct scene scene;
        char path[120], lock[130];
        struct stat status;
        scene_open(&scene);
        snprintf(path, sizeof path, "%s/metrics", scene.folder);
        snprintf(lock, sizeof lock, "%s.lock", path);
        scene_start(
                &scene, "--size", "4M", "--metrics-socket", path, "--socket-mode", "0640", NULL);
        cr_assert_eq(stat(path, &status), 0);
        cr_expect_eq(status.st_mode, S_IFSOCK | 0640);
        const char *text = socket_says(path, "");
        cr_expect_float_eq(pool_sample(&scene, text, "buddyd_pool_size_bytes"), 4 * MIB, 0);
        text = socket_says(path, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        cr_expect_eq(strncmp(text, "HTTP/1.0 200 OK\r\n", 17), 0, "%.40s", text);
        cr_expect_float_eq(pool_sample(&scene, text, "buddyd_pool_size_bytes"), 4 * MIB, 0);
        text = socket_says(path, "GET /else HTTP/1.1\r\n\r\n");
        cr_expect_eq(strncmp(text, "HTTP/1.0 404 ", 13), 0, "%.40s", text);
        text = socket_says(path, "PUT /metrics HTTP/1.1\r\n\r\n");
        cr_expect_eq(strncmp(text, "HTTP/1.0 405 ", 13), 0, "%.40s", text);

        /* A second daemon must not take it, and a killed one's is replaced. */
        struct scene other;
        scene_open(&other);
        const char *line = scene_refused(&other, 1, "--size", "1M", "--metrics-socket", path, NULL);
        cr_expect_not_null(strstr(line, path), "%s", line);
        scene_refused(&other, 2, "--size", "1M", "--metrics-socket", other.socket, NULL);
        scene_refused(&other, 2, "--size", "1M", "--metrics-socket", "", NULL);
        scene_kill(&scene);
        cr_assert_eq(stat(path, &status), 0);
        scene_start(&scene, "--size", "4M", "--metrics-socket", path, NULL);
        cr_expect_float_eq(
                pool_sample(&scene, socket_says(path, ""), "buddyd_pool_restarts_total"), 1, 0);
        scene_close(&scene);
        cr_expect_neq(stat(path, &status), 0, "the socket was left");
        cr_expect_neq(stat(lock, &status), 0, "its lock was left");
}

Test(metrics, are_of_the_pools_that_one_is_admitted_to) {
        if (geteuid() != 0)
                cr_skip_test("needs to be root, to be somebody else");
        struct scene scene;
        char config[200];
        scene_open(&scene);
        snprintf(config, sizeof config, "%s/two.conf", scene.folder);
        FILE *file = fopen(config, "w");
        fprintf(file,
                "[pool %s-open]\nsize = 1M\n[pool %s-closed]\nsize = 1M\nallow-users = daemon\n",
                scene.pool, scene.pool);
        cr_assert_eq(fclose(file), 0);
        scene.bare = true;
        scene_start(&scene, "--socket", scene.socket, "--socket-mode", "0666", "--config", config,
                NULL);
        const char *text = metrics(&scene);
        cr_expect_not_null(strstr(text, "-open\"") && strstr(text, "-closed\"") ? text : NULL);
        scene.uid = 65534;
        text = metrics(&scene);
        cr_expect_not_null(strstr(text, "-open\""));
        cr_expect_null(strstr(text, "-closed\""), "a pool that this user has nothing to do with");
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
}

/* The same figures as in the text, for who asks every command for JSON. */
Test(metrics, are_json_too) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        const struct json *samples =
                json_member(ctl_json(&scene, "metrics", "--json", NULL), "samples");
        bool found = false;
        for (const struct json *sample = samples->first; sample; sample = sample->next) {
                const struct json *labels = json_member(sample, "labels");
                if (strcmp(json_member(sample, "name")->text, "buddyd_pool_size_bytes") != 0)
                        continue;
                cr_expect_str_eq(json_member(labels, "pool")->text, scene.pool);
                cr_expect_eq(json_member(sample, "value")->integer, 4 * MIB);
                found = true;
        }
        cr_expect(found);
        ctl_refused(&scene, 2, "metrics", "--json", "--format", "prometheus", NULL);
        ctl_refused(&scene, 2, "metrics", "--json", "--textfile", "x", NULL);
        scene_close(&scene);
}
