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
        if (!users_are_there(guard->users))
                uv_timer_stop(timer);
}

/* Behind the loop's accepting. What was done while nobody was there is seen to at once. */
static void guard_on_check(uv_check_t *check) {
        struct guard *guard = check->data;
        if (!uv_is_active((uv_handle_t *)&guard->timer) && users_are_there(guard->users))
                uv_timer_start(&guard->timer, guard_on_timer, 0, GUARD_MS);
}

int guard_start(struct guard *guard, uv_loop_t *loop) {
        uv_timer_init(loop, &guard->timer);
        uv_check_init(loop, &guard->check);
        guard->timer.data = guard->check.data = guard;
        return uv_check_start(&guard->check, guard_on_check);
}

void guard_stop(struct guard *guard) {
        if (!guard->timer.data)
                return;
        uv_close((uv_handle_t *)&guard->timer, NULL);
        uv_close((uv_handle_t *)&guard->check, NULL);
        guard->timer.data = NULL;
}
