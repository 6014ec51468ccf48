/* See trimmer.h. */
#include "trimmer.h"

#include <string.h>

#include "bytes.h"
#include "list.h"
#include "log.h"
#include "served_pool.h"
#include "trim.h"

#define PERIOD_MS_MAX 60000u

static void trimmer_work(uv_work_t *work) {
        struct trimmer *trimmer = LINK_OWNER(work, struct trimmer, work);
        struct served_pool *served = trimmer->served;
        struct trimmed trimmed = trim_pool(served, trimmer->idle_s, &trimmer->cancelled);
        if (trimmed.error)
                log_event(LOG_EVENT_MEMORY_NOT_GIVEN_BACK,
                        &(struct log_subject){.pool = served->store->settings.name},
                        "pool '%s': cannot give free memory back: %s", served->store->settings.name,
                        strerror(-trimmed.error));
        else if (trimmed.bytes > 0)
                log_event(LOG_EVENT_MEMORY_GIVEN_BACK,
                        &(struct log_subject){.pool = served->store->settings.name},
                        "pool '%s': gave %s back that was free for %u s",
                        served->store->settings.name, bytes_rounded(trimmed.bytes).text,
                        trimmer->idle_s);
}

static void trimmer_done(uv_work_t *work, int status) {
        (void)status;
        LINK_OWNER(work, struct trimmer, work)->busy = false;
}

static void trimmer_due(uv_timer_t *timer) {
        struct trimmer *trimmer = LINK_OWNER(timer, struct trimmer, timer);
        trimmer->idle_s = atomic_load(&trimmer->served->trim_after_s);
        if (trimmer->busy || trimmer->idle_s == 0)
                return;
        trimmer->busy = uv_queue_work(timer->loop, &trimmer->work, trimmer_work, trimmer_done) == 0;
}

/* What is free is found so at the next look, and trimmed at a look that is trim-after later: so it is half as much later at the
 * latest, but for the smallest. */
static uint64_t trimmer_period_ms(uint32_t idle_s) {
        uint64_t period_ms = (uint64_t)idle_s * 1000 / 4;
        return period_ms < 1000 ? 1000 : period_ms > PERIOD_MS_MAX ? PERIOD_MS_MAX : period_ms;
}

void trimmer_adjust(struct trimmer *trimmer) {
        uint32_t idle_s = atomic_load(&trimmer->served->trim_after_s);
        uint64_t period_ms = trimmer_period_ms(idle_s);
        if (idle_s == 0)
                uv_timer_stop(&trimmer->timer);
        else
                uv_timer_start(&trimmer->timer, trimmer_due, period_ms, period_ms);
}

void trimmer_start(struct trimmer *trimmer, uv_loop_t *loop, struct served_pool *served) {
        *trimmer = (struct trimmer){.served = served, .open = true};
        uv_timer_init(loop, &trimmer->timer);
        trimmer_adjust(trimmer);
}

void trimmer_stop(struct trimmer *trimmer) {
        if (!trimmer->open)
                return;
        trimmer->open = false;
        atomic_store(&trimmer->cancelled, true);
        uv_close((uv_handle_t *)&trimmer->timer, NULL);
}
