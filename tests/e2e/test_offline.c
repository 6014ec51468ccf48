/* buddyctl check --offline: what a daemon has left is examined without one, and stays as it is. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/ledger.h"
#include "harness.h"

#define POOL_BYTES (4 * MIB)

TestSuite(offline, .timeout = 60);

struct copy {
        char path[300]; /* of the ledger in /dev/shm */
        char *bytes;    /* owned */
        size_t length;
        blkcnt_t blocks;
};

static void copy_take(const struct scene *scene, struct copy *copy) {
        char name[LEDGER_OBJECT_NAME_BYTES];
        struct stat info;
        ledger_object_name(geteuid(), scene->pool, "ledger", name);
        snprintf(copy->path, sizeof copy->path, "/dev/shm%s", name);
        int fd = open(copy->path, O_RDONLY | O_CLOEXEC);
        cr_assert(fd >= 0 && fstat(fd, &info) == 0, "%s", copy->path);
        copy->length = (size_t)info.st_size;
        copy->blocks = info.st_blocks;
        copy->bytes = malloc(copy->length);
        cr_assert_eq(read(fd, copy->bytes, copy->length), (ssize_t)copy->length);
        close(fd);
}

static void expect_unchanged(const struct scene *scene, const struct copy *before) {
        struct copy now;
        copy_take(scene, &now);
        cr_assert(now.length == before->length && memcmp(now.bytes, before->bytes, now.length) == 0,
                "the ledger was changed");
        cr_assert_eq(now.blocks, before->blocks, "the ledger takes more memory than before");
        free(now.bytes);
}

static void bend(const struct copy *copy, size_t offset, uint64_t value) {
        int fd = open(copy->path, O_WRONLY | O_CLOEXEC);
        cr_assert_eq(pwrite(fd, &value, sizeof value, (off_t)offset), (ssize_t)sizeof value);
        close(fd);
}

static void expect_member(const struct json *document, const char *key, uint64_t value) {
        const struct json *member = json_member(document, key);
        cr_assert(member && member->kind == JSON_INTEGER, "%s", key);
        cr_expect_eq((uint64_t)member->integer, value, "%s: %lld", key, (long long)member->integer);
}

static void crash_with_holds(struct scene *scene, const char *commit) {
        scene_open(scene);
        scene_start(scene, "--size", "4M", "--commit", commit, NULL);
        cr_assert_eq(ctl(scene, "alloc", "64K", NULL)->status, 0);
        cr_assert_eq(ctl(scene, "alloc", "4K", NULL)->status, 0);
        scene_kill(scene);
}

static void sound_after_a_kill(const char *commit) {
        struct scene scene;
        struct copy before;
        crash_with_holds(&scene, commit);
        copy_take(&scene, &before);
        const struct json *got = ctl_json(&scene, "check", "--offline", "--json", NULL);
        cr_expect(json_member(got, "ok")->truth);
        expect_member(got, "live_blocks", 2);
        expect_member(got, "pages", POOL_BYTES / 4096);
        expect_member(got, "page_bytes", 4096);
        expect_member(got, "size_bytes", POOL_BYTES);
        expect_member(got, "capacity_bytes", POOL_BYTES);
        expect_member(got, "restarts", 0);
        const struct run *text = ctl(&scene, "check", "--offline", NULL);
        cr_expect_eq(text->status, 0);
        cr_expect_not_null(strstr(text->out, "\nok\n"), "%s", text->out);
        expect_unchanged(&scene, &before);
        free(before.bytes);
        scene_start(&scene, "--size", "4M", "--commit", commit, NULL);
        expect_sound(&scene);
        scene_kill(&scene);
        got = ctl_json(&scene, "check", "--offline", "--json", NULL);
        expect_member(got, "restarts", 1);
        scene_start(&scene, "--size", "4M", "--commit", commit, NULL);
        scene_close(&scene);
}

Test(offline, a_pool_is_sound_after_kill_9) {
        sound_after_a_kill("eager");
}

Test(offline, a_pool_that_is_reserved_as_needed_takes_no_memory) {
        sound_after_a_kill("lazy");
}

/* Each is named, by the tool and by the daemon, with nothing changed by either. */
Test(offline, damaged_words_are_named) {
        struct scene scene;
        struct copy before, damaged;
        struct ledger_layout layout;
        crash_with_holds(&scene, "eager");
        copy_take(&scene, &before);
        ledger_layout(POOL_BYTES / 4096, &layout);
        const struct {
                size_t offset;
                const char *names;
        } words[] = {
                {0, "header: magic"},
                {8, "header: layout version"},
                {16, "header: "},
                {layout.sessions + sizeof(struct ledger_session) + 16, "session 1: "},
                {layout.sessions, "session 0: state"},
                {layout.keys, "key slot 0: "},
                {layout.holds + 40, "hold word 5: "},
                {layout.chunks, "record of page 0 "},
                {layout.records, "record of page 0 "},
                {layout.records + 17 * 8, "record of page 17 "},
        };
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
                uint64_t value;
                memcpy(&value, before.bytes + words[i].offset, sizeof value);
                bend(&before, words[i].offset, value ^ UINT64_C(0x1700000000000400));
                copy_take(&scene, &damaged);
                const struct run *run = ctl(&scene, "check", "--offline", NULL);
                cr_expect_eq(run->status, 4, "%s: %d %s", words[i].names, run->status, run->err);
                cr_expect(strstr(run->out, "fault: ") && strstr(run->out, words[i].names), "%s: %s",
                        words[i].names, run->out);
                const char *line = scene_refused(&scene, 1, "--size", "4M", NULL);
                cr_expect_not_null(strstr(line, words[i].names), "%s: %s", words[i].names, line);
                expect_unchanged(&scene, &damaged);
                bend(&before, words[i].offset, value);
                free(damaged.bytes);
        }
        cr_expect_eq(ctl(&scene, "check", "--offline", NULL)->status, 0);
        free(before.bytes);
        scene_start(&scene, "--size", "4M", NULL);
        scene_close(&scene);
}

/* The pool may be named as --pool or as the operand, but once. */
Test(offline, the_pool_is_an_operand_too) {
        struct scene scene;
        crash_with_holds(&scene, "eager");
        const char *const words[] = {program_buddyctl(), "check", "--offline", scene.pool, NULL};
        const struct run *run = program_run(&scene, words);
        cr_expect_eq(run->status, 0);
        cr_expect_eq(ctl(&scene, "check", "--offline", scene.pool, NULL)->status, 2);
        scene_start(&scene, "--size", "4M", NULL);
        scene_close(&scene);
}

Test(offline, a_served_pool_is_refused) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        const char *line = ctl_refused(&scene, 1, "check", "--offline", NULL);
        cr_expect_not_null(strstr(line, "a daemon serves"), "%s", line);
        scene_close(&scene);
        line = ctl_refused(&scene, 1, "check", "--offline", NULL);
        cr_expect_not_null(strstr(line, "has no pool"), "%s", line);
}

Test(offline, a_pool_served_from_memfds_is_refused) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--backing", "memfd", NULL);
        const char *line = ctl_refused(&scene, 1, "check", "--offline", NULL);
        cr_expect_not_null(strstr(line, "a daemon serves"), "%s", line);
        scene_close(&scene);
}

Test(offline, wrong_words_are_usage) {
        struct scene scene;
        scene_open(&scene);
        ctl_refused(&scene, 2, "check", "--offline", "--uid", "me", NULL);
        ctl_refused(&scene, 2, "check", "--uid", "0", NULL);
        ctl_refused(&scene, 2, "stats", "--offline", NULL);
        scene_start(&scene, "--size", "1M", NULL);
        scene_close(&scene);
}
