/* trim: free memory that goes back to the system, on demand and by itself. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(trim, .timeout = 90);

static int64_t trim(const struct scene *scene) {
        const struct json *said = ctl_json(scene, "trim", "--json", NULL);
        cr_assert_eq(json_member(said, "resident_bytes")->integer,
                scene_figure(scene, "resident_bytes"));
        return json_member(said, "trimmed_bytes")->integer;
}

static bool is_filled(struct buddyclient *client, const struct buddyclient_range *range, int with) {
        const unsigned char *bytes = buddyclient_pointer(client, range);
        return bytes[0] == with && memcmp(bytes, bytes + 1, range->length - 1) == 0;
}

Test(trim, gives_back_what_is_free_and_only_that) {
        struct scene scene;
        struct buddyclient_range ranges[16], page;
        scene_open(&scene);
        scene_start(&scene, "--size", "63M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(trim(&scene), 0);
        cr_assert_eq(buddyclient_alloc_many(client, 2 * MIB, 16, ranges), 0);
        for (int each = 0; each < 16; each++)
                memset(buddyclient_pointer(client, &ranges[each]), each + 1, 2 * MIB);
        cr_assert_eq(trim(&scene), 0);
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 32 * (int64_t)MIB);
        for (int each = 0; each < 16; each += 2)
                cr_assert_eq(buddyclient_release(client, &ranges[each]), 0);
        /* One page keeps its 2 MiB. */
        cr_assert_eq(buddyclient_alloc(client, SCENE_PAGE, &page), 0);
        memset(buddyclient_pointer(client, &page), 99, SCENE_PAGE);
        cr_assert_eq(trim(&scene), 14 * (int64_t)MIB);
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 18 * (int64_t)MIB);
        cr_assert_eq(scene_figure(&scene, "trimmed_bytes_total"), 14 * (int64_t)MIB);
        for (int each = 1; each < 16; each += 2)
                cr_assert(is_filled(client, &ranges[each], each + 1), "range %d", each);
        cr_assert(is_filled(client, &page, 99));
        /* Granted again, it is memory again. */
        for (int each = 0; each < 14; each += 2) {
                cr_assert_eq(buddyclient_alloc(client, 2 * MIB, &ranges[each]), 0);
                cr_assert(is_filled(client, &ranges[each], 0), "not a hole's zeroes");
                memset(buddyclient_pointer(client, &ranges[each]), 7, 2 * MIB);
        }
        expect_sound(&scene);
        buddyclient_destroy(client);
        cr_assert_eq(trim(&scene), 32 * (int64_t)MIB);
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 0);
        scene_close(&scene);
}

Test(trim, the_end_of_a_pool_that_is_no_multiple_goes_too) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "3M", "--max-size", "64M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 2 * MIB, &range), 0);
        cr_assert_eq(buddyclient_alloc(client, MIB, &range), 0);
        cr_assert_gt(scene_figure(&scene, "resident_bytes"), 2 * (int64_t)MIB);
        buddyclient_destroy(client);
        trim(&scene);
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 0);
        cr_assert_eq(ctl(&scene, "grow", "64M", NULL)->status, 0);
        client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 32 * MIB, &range), 0);
        memset(buddyclient_pointer(client, &range), 1, range.length);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(trim, pages_larger_than_what_is_given_back_at_once) {
        struct scene scene;
        struct buddyclient_range ranges[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", "--page-size", "16M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(client, 1, 2, ranges), 0);
        memset(buddyclient_pointer(client, &ranges[1]), 3, ranges[1].length);
        cr_assert_eq(buddyclient_release(client, &ranges[0]), 0);
        cr_assert_eq(trim(&scene), 16 * (int64_t)MIB);
        cr_assert(is_filled(client, &ranges[1], 3));
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* What a killed daemon had reserved, the next one knows nothing of. */
Test(trim, goes_on_after_a_restart) {
        struct scene scene;
        struct buddyclient_range kept, range;
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 2 * MIB, &kept), 0);
        cr_assert_eq(buddyclient_alloc(client, 16 * MIB, &range), 0);
        memset(buddyclient_pointer(client, &kept), 5, kept.length);
        scene_kill(&scene);
        scene_start(&scene, "--size", "64M", "--commit", "lazy", NULL);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(trim(&scene), 16 * (int64_t)MIB);
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 2 * (int64_t)MIB);
        cr_assert(is_filled(client, &kept, 5));
        buddyclient_destroy(client);
        scene_close(&scene);
}

/* Who writes where it holds nothing gets memory there that no grant had reserved. */
Test(trim, takes_what_a_stray_write_has_filled) {
        struct scene scene;
        struct buddyclient_range range;
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", "--commit", "lazy", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 4 * MIB, &range), 0);
        char *bytes = buddyclient_pointer(client, &range);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(trim(&scene), 4 * (int64_t)MIB);
        bytes[3 * MIB] = 1;
        cr_assert_gt(scene_figure(&scene, "resident_bytes"), 0);
        cr_assert_gt(trim(&scene), 0);
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 0);
        buddyclient_destroy(client);
        scene_close(&scene);
}

Test(trim, an_eager_pool_keeps_every_page) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "8M", NULL);
        cr_assert(strstr(ctl_refused(&scene, 1, "trim", NULL), "eager"));
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 8 * (int64_t)MIB);
        ctl_refused(&scene, 2, "trim", "all", NULL);
        scene_close(&scene);
}

static const char *config_write(const struct scene *scene, const char *keys) {
        static char path[120];
        snprintf(path, sizeof path, "%s/config", scene->folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fprintf(file, "[pool %s]\n%s", scene->pool, keys);
        fclose(file);
        return path;
}

Test(trim, happens_by_itself_where_nothing_was_granted_for_so_long) {
        struct scene scene;
        struct buddyclient_range kept, ranges[2];
        scene_open(&scene);
        const char *config = config_write(&scene, "size = 64M\ncommit = lazy\ntrim-after = 1\n");
        scene_start(&scene, "--config", config, NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(client, 2 * MIB, &kept), 0);
        memset(buddyclient_pointer(client, &kept), 5, kept.length);
        cr_assert_eq(buddyclient_alloc_many(client, 2 * MIB, 2, ranges), 0);
        cr_assert_eq(buddyclient_release(client, &ranges[1]), 0);
        /* This one is used and used again: it is never free for a second. */
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (scene_figure(&scene, "trimmed_bytes_total") == 0) {
                cr_assert(now_ms() < deadline, "never trimmed");
                cr_assert_eq(buddyclient_release(client, &ranges[0]), 0);
                cr_assert_eq(buddyclient_alloc(client, 2 * MIB, &ranges[0]), 0);
                ((char *)buddyclient_pointer(client, &ranges[0]))[77] = 1;
        }
        cr_assert_eq(scene_figure(&scene, "trimmed_bytes_total"), 2 * (int64_t)MIB);
        cr_assert_eq(scene_figure(&scene, "resident_bytes"), 4 * (int64_t)MIB);
        cr_assert(is_filled(client, &kept, 5));
        scene_await_line(&scene, "gave 2 MiB back");
        buddyclient_destroy(client);
        scene_await_figure(&scene, "resident_bytes", 0);
        scene_close(&scene);
}

Test(trim, settings_that_make_no_sense_are_refused) {
        struct scene scene;
        scene_open(&scene);
        static const char *const wrong[] = {"trim-after = 5\n", "commit = lazy\ntrim-after = 0\n",
                "commit = lazy\ntrim-after = soon\n", "commit = lazy\ntrim-after = 31536001\n",
                "commit = lazy\ntrim-after = -1\n"};
        for (size_t each = 0; each < sizeof wrong / sizeof *wrong; each++)
                cr_assert(strstr(scene_refused(&scene, 2, "--config",
                                         config_write(&scene, wrong[each]), NULL),
                        "trim-after"));
        scene_start(&scene, "--config",
                config_write(&scene, "size = 1M\ncommit = eager\ntrim-after = off\n"), NULL);
        scene_close(&scene);
}
