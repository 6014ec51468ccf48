/* See watchdog.h. */
#include "watchdog.h"

#include <systemd/sd-daemon.h>

uint64_t watchdog_interval_ms(void) {
        uint64_t interval_us;
        if (sd_watchdog_enabled(0, &interval_us) <= 0)
                return 0;
        return interval_us < 2000 ? 1 : interval_us / 1000;
}

static void watchdog_ask(struct watchdog *watchdog) {
        atomic_store(&watchdog->silent, watchdog->loops);
        watchdog->ask(watchdog->context);
}

static void watchdog_on_timer(uv_timer_t *timer) {
        struct watchdog *watchdog = timer->data;
        if (atomic_load(&watchdog->silent) > 0)
                return;
        watchdog->alive(watchdog->context);
        watchdog_ask(watchdog);
}

int watchdog_start(struct watchdog *watchdog, uv_loop_t *loop, uint64_t interval_ms) {
        uint64_t turn_ms = interval_ms < 2 ? 1 : interval_ms / 2;
        int error = uv_timer_init(loop, &watchdog->timer);
        if (error)
                return error;
        watchdog->timer.data = watchdog;
        watchdog->active = true;
        watchdog_ask(watchdog);
        return uv_timer_start(&watchdog->timer, watchdog_on_timer, turn_ms, turn_ms);
}

void watchdog_answer(struct watchdog *watchdog) {
        atomic_fetch_sub(&watchdog->silent, 1);
}

void watchdog_stop(struct watchdog *watchdog) {
        if (watchdog->active)
                uv_close((uv_handle_t *)&watchdog->timer, NULL);
        watchdog->active = false;
}
