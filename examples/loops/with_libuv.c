/* with_libuv POOL BUFFERS AT-ONCE: the same flow of buffers in a libuv loop. */
#include <stdio.h>
#include <stdlib.h>

#include <uv.h>

#include <buddyclient.h>

#include "flow.h"

struct loop {
        struct flow flow;
        uv_poll_t client;
        uv_timer_t metronome;
};

static void readable(uv_poll_t *poll, int status, int events) {
        struct loop *loop = poll->data;
        (void)status;
        (void)events;
        if (flow_dispatch(&loop->flow))
                return;
        uv_close((uv_handle_t *)&loop->client, NULL);
        uv_close((uv_handle_t *)&loop->metronome, NULL);
}

static void beat(uv_timer_t *timer) {
        struct loop *loop = timer->data;
        flow_beat(&loop->flow);
}

int main(int argc, char **argv) {
        if (argc != 4) {
                fprintf(stderr, "usage: with_libuv POOL BUFFERS AT-ONCE\n");
                return 2;
        }
        struct loop loop = {.flow = {.bytes = 65536}};
        if (flow_begin(&loop.flow, argv[1], strtoull(argv[2], NULL, 10), (unsigned)atoi(argv[3])))
                return 1;
        uv_loop_t *uv = uv_default_loop();
        loop.client.data = loop.metronome.data = &loop;
        uv_poll_init(uv, &loop.client, buddyclient_fd(loop.flow.client));
        uv_poll_start(&loop.client, UV_READABLE, readable);
        uv_timer_init(uv, &loop.metronome);
        uv_timer_start(&loop.metronome, beat, FLOW_BEAT_MS, FLOW_BEAT_MS);
        uv_run(uv, UV_RUN_DEFAULT);
        uv_loop_close(uv);
        return flow_end(&loop.flow);
}
