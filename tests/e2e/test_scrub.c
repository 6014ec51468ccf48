/* scrub: no byte of a former holder is seen by the next one, also over a kill of the daemon at any time. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

TestSuite(scrub, .timeout = 120);

enum { PAGES = 1024 };

static void scene_scrub(struct scene *scene, const char *keys) {
        char path[128];
        snprintf(path, sizeof path, "%s/buddyd.conf", scene->folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fprintf(file, "[pool %s]\nsize = 4M\nscrub = on\n%s", scene->pool, keys);
        fclose(file);
        scene_start(scene, "--config", path, NULL);
}

static bool is_clean(struct buddyclient *client, const struct buddyclient_range *range) {
        const unsigned char *bytes = buddyclient_pointer(client, range);
        for (uint64_t at = 0; at < range->length; at++)
                if (bytes[at] != 0)
                        return false;
        return true;
}

static void soil(struct buddyclient *client, const struct buddyclient_range *range) {
        memset(buddyclient_pointer(client, range), 0xa5, range->length);
}

static void ranges_are_clean_when_granted(const char *keys) {
        static struct buddyclient_range pages[PAGES];
        struct scene scene;
        struct buddyclient_range whole;
        scene_open(&scene);
        scene_scrub(&scene, keys);
        struct buddyclient *former = client_caching(&scene), *next = client_new(&scene);
        cr_assert_eq(buddyclient_alloc_many(former, SCENE_PAGE, PAGES, pages), 0);
        for (size_t each = 0; each < PAGES; each++)
                soil(former, &pages[each]);
        /* In its cache, given back by a batch, and by its death. */
        for (size_t each = 0; each < PAGES / 2; each++)
                cr_assert_eq(buddyclient_release(former, &pages[each]), 0);
        cr_assert_eq(buddyclient_alloc_wait(next, MIB, 5000, &whole), 0);
        cr_assert(is_clean(next, &whole));
        cr_assert_eq(buddyclient_release(next, &whole), 0);
        buddyclient_destroy(former);
        await_held(next, 0);
        for (size_t each = 0; each < PAGES; each++) {
                cr_assert_eq(buddyclient_alloc(next, SCENE_PAGE, &pages[each]), 0);
                cr_assert(is_clean(next, &pages[each]), "page %zu", each);
                soil(next, &pages[each]);
        }
        cr_assert_eq(buddyclient_release_many(next, pages, PAGES), 0);
        cr_assert_eq(buddyclient_alloc(next, 4 * MIB, &whole), 0);
        cr_assert(is_clean(next, &whole));
        buddyclient_destroy(next);
        scene_close(&scene);
}

Test(scrub, ranges_are_clean_when_granted) {
        ranges_are_clean_when_granted("");
        ranges_are_clean_when_granted("commit = lazy\n");
        ranges_are_clean_when_granted("backing = memfd\n");
}

Test(scrub, what_is_given_or_shared_keeps_its_bytes) {
        struct scene scene;
        struct buddyclient_range range, found;
        scene_open(&scene);
        scene_scrub(&scene, "");
        struct buddyclient *giver = client_new(&scene), *taker = client_new(&scene);
        cr_assert_eq(buddyclient_alloc(giver, SCENE_PAGE, &range), 0);
        strcpy(buddyclient_pointer(giver, &range), "a present");
        cr_assert_eq(buddyclient_publish(giver, "present", &range), 0);
        cr_assert_eq(buddyclient_give(giver, &range, buddyclient_id(taker)), 0);
        cr_assert_str_eq(buddyclient_pointer(taker, &range), "a present");
        cr_assert_eq(buddyclient_release(taker, &range), 0);
        cr_assert_eq(buddyclient_lookup(giver, "present", &found), 0);
        cr_assert_str_eq(buddyclient_pointer(giver, &found), "a present");
        cr_assert_eq(buddyclient_unpublish(giver, "present"), 0);
        buddyclient_destroy(giver);
        buddyclient_destroy(taker);
        scene_close(&scene);
}

/* Allocs, looks, soils and releases until it is killed; leaves with 1 at the first byte that is not its own. */
static pid_t churner(const struct scene *scene, unsigned seed) {
        pid_t process = process_fork();
        if (process != 0)
                return process;
        struct buddyclient_range held[64];
        size_t count = 0;
        const bool cached = seed % 2; /* its own bytes may come back to it */
        struct buddyclient *client = NULL;
        while (!client) /* the daemon may be away just now */
                client = cached ? client_caching(scene) : client_try(scene);
        for (;;) {
                struct buddyclient_range range;
                if (count < 64 &&
                        buddyclient_alloc(client, 1u << (12 + rand_r(&seed) % 5), &range) == 0) {
                        if (!cached && !is_clean(client, &range))
                                _exit(1);
                        soil(client, &range);
                        held[count++] = range;
                } else if (count > 0) {
                        size_t which = (size_t)rand_r(&seed) % count;
                        buddyclient_release(client, &held[which]);
                        held[which] = held[--count];
                }
        }
}

Test(scrub, kills_at_random_let_nothing_through) {
        struct scene scene;
        pid_t churners[4];
        unsigned seed = 7;
        scene_open(&scene);
        scene_scrub(&scene, "");
        for (unsigned each = 0; each < 4; each++)
                churners[each] = churner(&scene, each);
        for (int round = 0; round < 25; round++) {
                struct buddyclient *probe = client_new(&scene);
                struct buddyclient_range range;
                for (int turn = rand_r(&seed) % 40; turn >= 0; turn--)
                        if (buddyclient_alloc(probe, SCENE_PAGE << (turn % 5), &range) == 0) {
                                cr_assert(is_clean(probe, &range), "round %d", round);
                                soil(probe, &range);
                        }
                scene_kill(&scene);
                scene_scrub(&scene, "");
                unsigned which = (unsigned)rand_r(&seed) % 4;
                int ended = process_kill(churners[which]);
                cr_assert_eq(ended, -SIGKILL, "churner %u ended with %d: 1 is a byte of another's",
                        which, ended);
                churners[which] = churner(&scene, which);
                buddyclient_destroy(probe);
        }
        for (unsigned each = 0; each < 4; each++)
                cr_assert_eq(process_kill(churners[each]), -SIGKILL);
        scene_close(&scene);
}
