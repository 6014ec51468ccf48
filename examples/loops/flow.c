#include "flow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <buddyclient.h>

static void take_next(struct flow *flow);

static void fail(struct flow *flow, int error) {
        if (flow->error)
                return;
        flow->error = error;
        fprintf(stderr, "%s (%s)\n", buddyclient_strerror(error), buddyclient_detail(flow->client));
}

static void returned(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct flow *flow = data;
        (void)client;
        flow->under_way--;
        if (completion->result)
                fail(flow, completion->result);
        else
                flow->done++;
        take_next(flow);
}

static void taken(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct flow *flow = data;
        if (completion->result) {
                flow->under_way--;
                fail(flow, completion->result);
                return;
        }
        const struct buddyclient_range *range = completion->ranges;
        memset(buddyclient_pointer(client, range), 'b', flow->bytes);
        int error = buddyclient_submit_release(client, range, returned, flow);
        if (error) {
                flow->under_way--;
                fail(flow, error);
        }
}

/* Waits in the daemon's line if the pool is full, and not here. */
static void take_next(struct flow *flow) {
        if (flow->error || flow->left == 0)
                return;
        int error = buddyclient_submit_alloc_wait(flow->client, flow->bytes, -1, taken, flow);
        if (error) {
                fail(flow, error);
                return;
        }
        flow->left--;
        flow->under_way++;
}

int flow_begin(struct flow *flow, const char *pool, uint64_t count, unsigned at_once) {
        int error = buddyclient_new(&flow->client);
        if (error)
                return error;
        error = buddyclient_set_pool(flow->client, pool);
        if (!error)
                error = buddyclient_connect(flow->client);
        if (error) {
                fail(flow, error);
                buddyclient_destroy(flow->client);
                return error;
        }
        flow->left = count;
        for (unsigned i = 0; i < at_once; i++)
                take_next(flow);
        return 0;
}

bool flow_dispatch(struct flow *flow) {
        int told = buddyclient_dispatch(flow->client);
        if (told < 0)
                fail(flow, told);
        return told >= 0 && flow->under_way > 0;
}

void flow_beat(struct flow *flow) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        double pause = (double)(now.tv_sec - flow->last_beat.tv_sec) * 1e3 +
                       (double)(now.tv_nsec - flow->last_beat.tv_nsec) / 1e6;
        if (flow->last_beat.tv_sec && pause > flow->longest_pause_ms)
                flow->longest_pause_ms = pause;
        flow->last_beat = now;
}

int flow_end(struct flow *flow) {
        printf("%llu buffers of %llu bytes; the loop's longest pause was %.0f ms\n",
                (unsigned long long)flow->done, (unsigned long long)flow->bytes,
                flow->longest_pause_ms);
        buddyclient_destroy(flow->client);
        return flow->error ? 1 : 0;
}
