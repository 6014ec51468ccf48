/* See submit_stage.h. */
#include "submit_stage.h"

#include <criterion/criterion.h>

void stage_open(struct stage *stage) {
        scene_open(&stage->scene);
        scene_start(&stage->scene, "--size", "1M", NULL);
        stage->client = client_with(&stage->scene, 0, 5000);
        stage->peer = client_new(&stage->scene);
}

void stage_close(struct stage *stage) {
        client_settle(stage->client, 0);
        expect_held(stage->peer, 0);
        expect_sound(&stage->scene);
        buddyclient_destroy(stage->client);
        buddyclient_destroy(stage->peer);
        scene_close(&stage->scene);
}

struct buddyclient_range stage_grant(struct stage *stage, uint64_t length) {
        struct buddyclient_range range;
        cr_assert_eq(buddyclient_alloc(stage->client, length, &range), 0);
        return range;
}

void stage_return(struct stage *stage, const struct buddyclient_range *range) {
        int rc = buddyclient_release(stage->client, range);
        cr_assert_eq(rc, 0, "%d: %s", rc, buddyclient_detail(stage->client));
}

void stage_expect_untouched(struct stage *stage, const struct buddyclient_range *held) {
        expect_held(stage->peer, held->length);
        stage_return(stage, held);
        stage_close(stage);
}
