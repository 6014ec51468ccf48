/* See guard.h. */
#include "guard.h"

#include <malloc.h>

#include "served_pool.h"
#include "users.h"

#define GUARD_MS 1000u

static void guard_look(struct guard *guard) {
        for (size_t i = 0; i < guard->pool_count; i++)
                store_mend_segment(guard->pools[i].store, pool_pages(guard->pools[i].pool));
}

static void guard_on_timer(uv_timer_t *timer) {
        struct guard *guard = timer->data;
        guard_look(guard);
        if (users_have_left(guard->users))
                malloc_trim(0);
        if (!users_are_there(guard->users))
                uv_timer_stop(timer);
}

void guard_wake(struct guard *guard) {
        if (uv_is_active((uv_handle_t *)&guard->timer))
                return;
        guard_look(guard);
        uv_timer_start(&guard->timer, guard_on_timer, GUARD_MS, GUARD_MS);
}

void guard_init(struct guard *guard, uv_loop_t *loop) {
        uv_timer_init(loop, &guard->timer);
        guard->timer.data = guard;
}

void guard_deinit(struct guard *guard) {
        uv_close((uv_handle_t *)&guard->timer, NULL);
}
