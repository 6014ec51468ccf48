/* Ranges under keys: a key holds as a client does, outlives its publisher and the daemon, and is its user's. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(keys, .timeout = 60);

static const struct buddyclient_range UNTOUCHED = {0x1111, 0x2222, 0x3333};

static void stage(struct scene *scene) {
        scene_open(scene);
        scene_start(scene, "--size", "8M", "--socket-mode", "0666", NULL);
}

/* Nothing may be held any more. */
static void unstage(struct scene *scene, struct buddyclient *client) {
        expect_held(client, 0);
        cr_assert_eq(stats_of(client).largest_free_bytes, 8 * MIB, "not merged");
        buddyclient_destroy(client);
        scene_close(scene);
}

static struct buddyclient_range taken(struct buddyclient *client, uint64_t length, int stamp) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(client, length, &range), 0);
        memset(buddyclient_pointer(client, &range), stamp, range.length);
        return range;
}

static void expect_bytes(
        struct buddyclient *client, const struct buddyclient_range *range, int stamp) {
        const unsigned char *bytes = buddyclient_pointer(client, range);
        for (uint64_t at = 0; at < range->length; at++)
                cr_assert_eq(bytes[at], stamp, "byte %lu is %d", at, bytes[at]);
}

/* Looks the key up, finds its bytes, and lets it go again. */
static void expect_key(struct buddyclient *client, const char *key, int stamp) {
        struct buddyclient_range found;
        cr_assert_eq(buddyclient_lookup(client, key, &found), 0, "%s: %s", key,
                buddyclient_detail(client));
        expect_bytes(client, &found, stamp);
        cr_assert_eq(buddyclient_release(client, &found), 0);
        cr_assert_eq(buddyclient_release(client, &found), -ESTALE);
}

/* What `buddyctl ranges` says of the range at this offset: how many holders, and whether this one is among them. */
static size_t holders(
        const struct scene *scene, uint64_t offset, uint32_t id, const char *key, bool *there) {
        const struct json *document = ctl_json(scene, "ranges", "--json", NULL);
        const struct json *list = json_list_with(document, "offset");
        *there = false;
        for (const struct json *range = list ? list->first : NULL; range; range = range->next) {
                if ((uint64_t)json_member(range, "offset")->integer != offset)
                        continue;
                const struct json *all = json_member(range, "holders");
                for (const struct json *each = all->first; each; each = each->next) {
                        const struct json *number = json_member(each, "id");
                        const struct json *name = json_member(each, "key");
                        *there |= id && number && number->integer == id;
                        *there |= key && name && name->text && strcmp(name->text, key) == 0;
                }
                return all->count;
        }
        return 0;
}

static void expect_holder(
        const struct scene *scene, uint64_t offset, uint32_t id, const char *key) {
        bool there;
        holders(scene, offset, id, key, &there);
        cr_assert(there, "%s%u does not show as a holder", key ? key : "#", id);
}

Test(keys, a_key_is_a_holder) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        struct buddyclient_range range = taken(client, 3 * SCENE_PAGE, 1), found;
        cr_assert_eq(buddyclient_publish(client, "model/1", &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), -ESTALE);
        expect_held(client, 4 * SCENE_PAGE);
        cr_assert_eq(buddyclient_lookup(other, "model/1", &found), 0);
        cr_assert(memcmp(&found, &range, sizeof range) == 0);
        cr_assert_eq(buddyclient_attach(other, &found), 0);
        cr_assert_eq(buddyclient_attach(client, &range), 0, "what a key holds can be attached");
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_unpublish(client, "model/1"), 0);
        cr_assert_eq(buddyclient_unpublish(client, "model/1"), -ENOENT);
        cr_assert_eq(buddyclient_lookup(client, "model/1", &range), -ENOENT);
        expect_bytes(other, &found, 1);
        cr_assert_eq(buddyclient_release(other, &found), 0);
        expect_held(client, 4 * SCENE_PAGE);
        cr_assert_eq(buddyclient_release(other, &found), 0);
        cr_assert_eq(buddyclient_attach(client, &range), -ESTALE);
        buddyclient_destroy(other);
        unstage(&scene, client);
}

Test(keys, unpublish_frees_what_nobody_else_holds) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range = taken(client, MIB, 1);
        cr_assert_eq(buddyclient_publish(client, "a", &range), 0);
        cr_assert_eq(buddyclient_publish(client, "b", &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_unpublish(client, "a"), 0);
        expect_key(client, "b", 1);
        cr_assert_eq(buddyclient_unpublish(client, "b"), 0);
        unstage(&scene, client);
}

Test(keys, a_key_outlives_its_publisher) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_new(&scene);
        for (int death = 0; death < 2; death++) {
                pid_t process = process_fork();
                if (process == 0) {
                        struct buddyclient *own = client_try(&scene);
                        struct buddyclient_range range;
                        if (!own || buddyclient_alloc(own, 65536, &range) != 0)
                                _exit(1);
                        memset(buddyclient_pointer(own, &range), 40 + death, range.length);
                        if (buddyclient_publish(own, death ? "killed" : "left", &range) != 0)
                                _exit(2);
                        if (death)
                                raise(SIGKILL);
                        buddyclient_destroy(own);
                        _exit(0);
                }
                cr_assert_eq(process_wait(process), death ? -SIGKILL : 0);
        }
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (stats_of(client).clients != 1)
                cr_assert_lt(now_ms(), deadline, "a dead client is still there");
        expect_held(client, 2 * 65536);
        expect_key(client, "left", 40);
        expect_key(client, "killed", 41);
        cr_assert_eq(buddyclient_unpublish(client, "left"), 0);
        cr_assert_eq(buddyclient_unpublish(client, "killed"), 0);
        unstage(&scene, client);
}

Test(keys, publishing_over_a_key_moves_it) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        struct buddyclient_range first = taken(client, SCENE_PAGE, 1), second;
        cr_assert_eq(buddyclient_publish(client, "model", &first), 0);
        cr_assert_eq(buddyclient_publish(client, "model", &first), 0, "the same again");
        cr_assert_eq(buddyclient_release(client, &first), 0);
        second = taken(other, 2 * SCENE_PAGE, 2);
        cr_assert_eq(buddyclient_publish(other, "model", &second), 0);
        expect_held(client, 2 * SCENE_PAGE);
        cr_assert_eq(buddyclient_attach(client, &first), -ESTALE);
        expect_key(client, "model", 2);
        cr_assert_eq(buddyclient_release(other, &second), 0);
        cr_assert_eq(buddyclient_unpublish(client, "model"), 0);
        cr_assert_eq(buddyclient_unpublish(client, "model"), -ENOENT);
        buddyclient_destroy(other);
        unstage(&scene, client);
}

Test(keys, who_looked_up_keeps_the_old_version) {
        struct scene scene;
        stage(&scene);
        struct buddyclient *client = client_new(&scene), *reader = client_new(&scene);
        struct buddyclient_range old = taken(client, SCENE_PAGE, 1), found;
        cr_assert_eq(buddyclient_publish(client, "model", &old), 0);
        cr_assert_eq(buddyclient_lookup(reader, "model", &found), 0);
        struct buddyclient_range new = taken(client, SCENE_PAGE, 2);
        cr_assert_eq(buddyclient_publish(client, "model", &new), 0);
        cr_assert_eq(buddyclient_release(client, &old), 0);
        cr_assert_eq(buddyclient_release(client, &new), 0);
        expect_bytes(reader, &found, 1);
        expect_key(reader, "model", 2);
        cr_assert_eq(buddyclient_unpublish(reader, "model"), 0);
        expect_held(client, SCENE_PAGE);
        buddyclient_destroy(reader);
        unstage(&scene, client);
}

Test(keys, bad_keys_and_ranges_are_refused) {
        struct scene scene;
        struct buddyclient_range found = UNTOUCHED;
        char key[241];
        stage(&scene);
        struct buddyclient *client = client_new(&scene), *other = client_new(&scene);
        struct buddyclient_range range = taken(client, 2 * SCENE_PAGE, 1), bad = range;
        memset(key, 'k', 240), key[240] = 0;
        const char *wrong[] = {"", key, "\xff\xfe", "broken \xc3"};
        for (int each = 0; each < 4; each++) {
                cr_expect_eq(buddyclient_publish(client, wrong[each], &range), -EINVAL, "%d", each);
                cr_expect_eq(buddyclient_lookup(client, wrong[each], &found), -EINVAL, "%d", each);
                cr_expect_eq(buddyclient_unpublish(client, wrong[each]), -EINVAL, "%d", each);
        }
        cr_assert_eq(buddyclient_publish(other, "model", &range), -ESTALE, "not held by it");
        bad.offset += SCENE_PAGE;
        cr_assert_eq(buddyclient_publish(client, "model", &bad), -EINVAL, "an interior offset");
        cr_assert_eq(buddyclient_lookup(client, "model", &found), -ENOENT);
        cr_assert_eq(buddyclient_unpublish(client, "model"), -ENOENT);
        cr_assert(memcmp(&found, &UNTOUCHED, sizeof found) == 0, "a refusal wrote");
        key[239] = 0;
        cr_assert_eq(buddyclient_publish(client, key, &range), 0);
        cr_assert_eq(buddyclient_publish(client, "Schl\xc3\xbcssel", &range), 0);
        expect_key(other, key, 1);
        expect_key(other, "Schl\xc3\xbcssel", 1);
        cr_assert_eq(buddyclient_unpublish(other, key), 0);
        cr_assert_eq(buddyclient_unpublish(other, "Schl\xc3\xbcssel"), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        cr_assert_eq(buddyclient_publish(client, "model", &range), -ESTALE, "not held any more");
        buddyclient_destroy(other);
        unstage(&scene, client);
}

Test(keys, many_keys_stand_beside_each_other) {
        struct scene scene;
        char key[32];
        stage(&scene);
        struct buddyclient *client = client_new(&scene);
        for (int each = 0; each < 500; each++) {
                struct buddyclient_range range = taken(client, 1, each % 256);
                snprintf(key, sizeof key, "key %d", each);
                cr_assert_eq(buddyclient_publish(client, key, &range), 0, "%s: %s", key,
                        buddyclient_detail(client));
                cr_assert_eq(buddyclient_release(client, &range), 0);
        }
        expect_held(client, 500 * SCENE_PAGE);
        expect_sound(&scene);
        scene_kill(&scene);
        buddyclient_destroy(client);
        scene_start(&scene, "--size", "8M", NULL);
        client = client_new(&scene);
        for (int each = 499; each >= 0; each--) {
                snprintf(key, sizeof key, "key %d", each);
                expect_key(client, key, each % 256);
                cr_assert_eq(buddyclient_unpublish(client, key), 0);
        }
        unstage(&scene, client);
}

/* ---- Whom operators see, and who may ---- */

Test(keys, ranges_show_every_holder) {
        struct scene scene;
        struct buddyclient_range found;
        bool there;
        stage(&scene);
        struct buddyclient *one = client_new(&scene), *two = client_new(&scene),
                           *three = client_new(&scene);
        struct buddyclient_range range = taken(one, SCENE_PAGE, 1);
        cr_assert_eq(buddyclient_attach(two, &range), 0);
        cr_assert_eq(buddyclient_publish(two, "model", &range), 0);
        cr_assert_eq(buddyclient_publish(one, "copy", &range), 0);
        cr_assert_eq(buddyclient_lookup(three, "copy", &found), 0);
        expect_holder(&scene, range.offset, buddyclient_id(one), NULL);
        expect_holder(&scene, range.offset, buddyclient_id(two), NULL);
        expect_holder(&scene, range.offset, buddyclient_id(three), NULL);
        expect_holder(&scene, range.offset, 0, "model");
        expect_holder(&scene, range.offset, 0, "copy");
        cr_assert_eq(holders(&scene, range.offset, 0, "model", &there), 5);
        cr_assert_eq(buddyclient_give(three, &found, buddyclient_id(two)), 0);
        holders(&scene, range.offset, buddyclient_id(three), NULL, &there);
        cr_assert(!there, "the giver still shows");
        uint32_t leaver = buddyclient_id(one);
        buddyclient_destroy(one);
        holders(&scene, range.offset, leaver, NULL, &there);
        cr_assert(!there, "one that left still shows");
        cr_assert_eq(buddyclient_release(two, &range), 0);
        expect_holder(&scene, range.offset, buddyclient_id(two), NULL);
        buddyclient_destroy(two);
        cr_assert_eq(holders(&scene, range.offset, 0, "copy", &there), 2, "the keys alone");
        cr_assert(there);
        cr_assert_eq(buddyclient_unpublish(three, "model"), 0);
        cr_assert_eq(buddyclient_unpublish(three, "copy"), 0);
        cr_assert_eq(holders(&scene, range.offset, 0, "copy", &there), 0);
        unstage(&scene, three);
}

static int other_users_calls(const struct scene *scene) {
        struct buddyclient_range found, own;
        if (setgid(12345) != 0 || setuid(12345) != 0)
                return 1;
        struct buddyclient *client = client_try(scene);
        if (!client || buddyclient_lookup(client, "model", &found) != 0)
                return 2;
        if (*(char *)buddyclient_pointer(client, &found) != 7)
                return 3;
        if (buddyclient_unpublish(client, "model") != -EACCES)
                return 4;
        if (buddyclient_alloc(client, 1, &own) != 0 ||
                buddyclient_publish(client, "model", &own) != -EACCES)
                return 5;
        if (buddyclient_publish(client, "mine", &own) != 0 ||
                buddyclient_unpublish(client, "mine") != 0)
                return 6;
        if (buddyclient_publish(client, "theirs", &own) != 0)
                return 7;
        if (buddyclient_release(client, &found) != 0 || buddyclient_release(client, &own) != 0)
                return 8;
        buddyclient_destroy(client);
        return 0;
}

Test(keys, another_user_may_look_up_only) {
        struct scene scene;
        if (geteuid() != 0)
                cr_skip_test("needs to become another user");
        stage(&scene);
        struct buddyclient *client = client_new(&scene);
        struct buddyclient_range range = taken(client, SCENE_PAGE, 7);
        cr_assert_eq(buddyclient_publish(client, "model", &range), 0);
        cr_assert_eq(buddyclient_release(client, &range), 0);
        for (int restarted = 0; restarted < 2; restarted++) {
                pid_t process = process_fork();
                if (process == 0)
                        _exit(other_users_calls(&scene));
                cr_assert_eq(process_wait(process), 0);
                expect_key(client, "model", 7);
                expect_held(client, 2 * SCENE_PAGE);
                if (restarted)
                        break;
                scene_kill(&scene);
                buddyclient_destroy(client);
                scene_start(&scene, "--size", "8M", "--socket-mode", "0666", NULL);
                client = client_new(&scene);
        }
        cr_assert_eq(buddyclient_unpublish(client, "model"), 0);
        int result = buddyclient_unpublish(client, "theirs");
        if (result == -EACCES) {
                pid_t process = process_fork();
                if (process == 0) {
                        struct buddyclient *own;
                        if (setgid(12345) != 0 || setuid(12345) != 0 || !(own = client_try(&scene)))
                                _exit(1);
                        _exit(buddyclient_unpublish(own, "theirs") != 0);
                }
                cr_assert_eq(process_wait(process), 0);
        }
        await_held(client, 0);
        unstage(&scene, client);
}

/* ---- Daemons come and go ---- */

Test(keys, keys_survive_a_crash_and_an_upgrade) {
        struct scene scene;
        stage(&scene);
        for (int round = 0; round < 4; round++) {
                pid_t process = process_fork();
                if (process == 0) {
                        struct buddyclient *own = client_try(&scene);
                        struct buddyclient_range range;
                        if (!own || buddyclient_alloc(own, 1, &range) != 0)
                                _exit(1);
                        memset(buddyclient_pointer(own, &range), 60 + round, range.length);
                        _exit(buddyclient_publish(own, "model", &range) != 0);
                }
                cr_assert_eq(process_wait(process), 0);
                if (round % 2)
                        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
                else
                        scene_kill(&scene);
                scene_start(&scene, "--size", "8M", "--keep", NULL);
                struct buddyclient *client = client_new(&scene);
                await_held(client, SCENE_PAGE);
                expect_key(client, "model", 60 + round);
                expect_sound(&scene);
                buddyclient_destroy(client);
        }
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        scene_start(&scene, "--size", "8M", NULL);
        struct buddyclient *client = client_new(&scene);
        cr_assert_eq(buddyclient_unpublish(client, "model"), 0);
        unstage(&scene, client);
}
