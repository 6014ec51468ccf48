#include "bystander.h"

#include <criterion/criterion.h>
#include <string.h>

void bystander_open(struct bystander *by) {
        scene_open(&by->scene);
        scene_start(&by->scene, "--size", "4M", NULL);
        by->client = client_new(&by->scene);
        cr_assert_eq(buddyclient_alloc(by->client, 65536, &by->range), 0);
        strcpy(buddyclient_pointer(by->client, &by->range), "undisturbed");
        by->fds = scene_daemon_fds(&by->scene);
}

void bystander_works(struct bystander *by) {
        struct buddyclient_range range;
        uint64_t begin = now_ms();
        cr_assert_eq(buddyclient_alloc(by->client, SCENE_PAGE, &range), 0);
        cr_assert_eq(buddyclient_release(by->client, &range), 0);
        cr_assert_lt(now_ms() - begin, 2000, "a bystander had to wait");
}

void await_fds(const struct scene *scene, size_t count) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (scene_daemon_fds(scene) > count)
                cr_assert_lt(now_ms(), deadline, "the daemon keeps %zu descriptors, before %zu",
                        scene_daemon_fds(scene), count);
}

void bystander_close(struct bystander *by) {
        bystander_works(by);
        await_held(by->client, 65536);
        cr_assert_str_eq(buddyclient_pointer(by->client, &by->range), "undisturbed");
        await_fds(&by->scene, by->fds);
        cr_assert_eq(stats_of(by->client).clients, 1);
        cr_assert_eq(buddyclient_release(by->client, &by->range), 0);
        buddyclient_destroy(by->client);
        scene_close(&by->scene);
}

struct request alloc_request(uint64_t length, uint32_t count) {
        struct request request = {.kind = REQUEST_ALLOC};
        request.alloc = (struct request_alloc){.length = length, .count = count};
        return request;
}
