/* See guard.h. */
#include "guard.h"

#include <malloc.h>

#include "served_pool.h"
#include "users.h"

#define GUARD_MS 1000u

static void guard_on_timer(uv_timer_t *timer) {
        struct guard *guard = timer->data;
        for (size_t i = 0; i < guard->pool_count; i++)
                store_mend_segment(guard->pools[i].store, pool_pages(guard->pools[i].pool));
        if (users_have_left(guard->users))
                malloc_trim(0);
}

int guard_start(struct guard *guard, uv_loop_t *loop) {
        int error = uv_timer_init(loop, &guard->timer);
        if (error)
                return error;
        guard->timer.data = guard;
        return uv_timer_start(&guard->timer, guard_on_timer, GUARD_MS, GUARD_MS);
}

void guard_stop(struct guard *guard) {
        if (guard->timer.data)
                uv_close((uv_handle_t *)&guard->timer, NULL);
        guard->timer.data = NULL;
}
