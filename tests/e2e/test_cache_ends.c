/* A client's cache ends with its session, whoever looks at caches at that moment: else the memory of one who left would count as that
 * of the next with its number. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "proto/cache_area.h"

#define LOOKERS 3
#define CLIENTS 8

TestSuite(cache_ends, .timeout = 120);

/* Threads whose every request has the daemon look at all caches. */
struct lookers {
        struct buddyclient *clients[LOOKERS];
        pthread_t threads[LOOKERS];
        atomic_bool stop;
        atomic_uint next;
};

static void *look(void *context) {
        struct lookers *lookers = context;
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        struct buddyclient *client = lookers->clients[atomic_fetch_add(&lookers->next, 1)];
        while (!atomic_load(&lookers->stop))
                buddyclient_stats(client, &stats);
        return NULL;
}

static void lookers_start(struct lookers *lookers, const struct scene *scene) {
        *lookers = (struct lookers){0};
        for (int i = 0; i < LOOKERS; i++)
                lookers->clients[i] = client_new(scene);
}

static void lookers_go(struct lookers *lookers) {
        for (int i = 0; i < LOOKERS; i++)
                cr_assert_eq(pthread_create(&lookers->threads[i], NULL, look, lookers), 0);
}

static void lookers_end(struct lookers *lookers) {
        atomic_store(&lookers->stop, true);
        for (int i = 0; i < LOOKERS; i++) {
                pthread_join(lookers->threads[i], NULL);
                buddyclient_destroy(lookers->clients[i]);
        }
}

/* Areas that the daemon has mapped. */
static int areas_mapped(const struct scene *scene) {
        char path[64], line[512];
        int count = 0;
        snprintf(path, sizeof path, "/proc/%d/maps", (int)scene->daemon);
        FILE *file = fopen(path, "re");
        cr_assert(file);
        while (fgets(line, sizeof line, file))
                count += strstr(line, CACHE_AREA_NAME) != NULL;
        fclose(file);
        return count;
}

static void clients_come(const struct scene *scene, struct buddyclient *clients[CLIENTS]) {
        struct buddyclient_range range;
        for (int i = 0; i < CLIENTS; i++) {
                clients[i] = client_caching(scene);
                cr_assert_eq(buddyclient_alloc(clients[i], SCENE_PAGE, &range), 0);
        }
}

static void clients_go(struct buddyclient *clients[CLIENTS]) {
        for (int i = 0; i < CLIENTS; i++)
                buddyclient_destroy(clients[i]);
}

Test(cache_ends, no_area_stays_behind_a_goodbye) {
        struct scene scene;
        struct lookers lookers;
        struct buddyclient *clients[CLIENTS];
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", "--workers", "2", NULL);
        lookers_start(&lookers, &scene);
        lookers_go(&lookers);
        for (int round = 0; round < 20; round++) {
                clients_come(&scene, clients);
                clients_go(clients);
                cr_assert_eq(areas_mapped(&scene), 0, "round %d", round);
        }
        lookers_end(&lookers);
        scene_close(&scene);
}

/* The next daemon looks for the memory of those who have not come back yet. */
Test(cache_ends, no_area_stays_behind_a_restart_and_a_goodbye) {
        struct scene scene;
        struct lookers lookers;
        struct buddyclient *clients[CLIENTS];
        scene_open(&scene);
        scene_start(&scene, "--size", "64M", "--workers", "2", NULL);
        for (int round = 0; round < 8; round++) {
                clients_come(&scene, clients);
                lookers_start(&lookers, &scene);
                scene_kill(&scene);
                scene_start(&scene, "--size", "64M", "--workers", "2", NULL);
                lookers_go(&lookers);
                clients_go(clients);
                lookers_end(&lookers);
                cr_assert_eq(areas_mapped(&scene), 0, "round %d", round);
        }
        scene_close(&scene);
}
