/* See guard.h. */
#include "guard.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "served_pool.h"
#include "users.h"

#define GUARD_MS 1000u

static void guard_look(struct guard *guard) {
        for (size_t i = 0; i < guard->pool_count; i++)
                store_mend_segment(guard->pools[i].store, pool_pages(guard->pools[i].pool));
        if (users_have_left(guard->users))
                malloc_trim(0);
}

/* ---- What the kernel tells ---- */

static void guard_on_change(uv_poll_t *changed, int status, int events) {
        (void)status;
        (void)events;
        guard_wake(changed->data);
}

/* Whether there were any; they are not told again. */
static bool guard_take_changes(const struct guard *guard) {
        char events[4096];
        bool any = false;
        while (guard->changes_fd >= 0 && read(guard->changes_fd, events, sizeof(events)) > 0)
                any = true;
        return any;
}

static bool guard_watch_segment(const struct guard *guard, const struct store *store) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", store->segment_fd);
        return inotify_add_watch(guard->changes_fd, path, IN_MODIFY) >= 0;
}

static int guard_watch(struct guard *guard, uv_loop_t *loop) {
        guard->changes_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        for (size_t i = 0; i < guard->pool_count; i++) {
                const struct store *store = guard->pools[i].store;
                guard->blind |= store->settings.backing == BACKING_POSIX_SHM &&
                                !guard_watch_segment(guard, store);
        }
        if (guard->changes_fd < 0)
                return 0;
        int error = uv_poll_init(loop, &guard->changed, guard->changes_fd);
        if (!error)
                return 0;
        close(guard->changes_fd);
        guard->changes_fd = -1;
        return error;
}

/* ---- Asleep and awake ---- */

static void guard_on_timer(uv_timer_t *timer);

static void guard_set_timer(struct guard *guard) {
        uv_timer_start(&guard->timer, guard_on_timer, GUARD_MS, GUARD_MS);
}

/* What changes behind the look wakes it again; so does once what the look itself has put back. */
static void guard_sleep(struct guard *guard) {
        enum guard_state quiet = GUARD_QUIET;
        if (!atomic_compare_exchange_strong(&guard->state, &quiet, GUARD_ASLEEP))
                return;
        uv_timer_stop(&guard->timer);
        if (guard->changes_fd < 0)
                return;
        guard_take_changes(guard);
        guard_look(guard);
        uv_poll_start(&guard->changed, UV_READABLE, guard_on_change);
}

static void guard_on_timer(uv_timer_t *timer) {
        struct guard *guard = timer->data;
        guard_look(guard);
        if (atomic_exchange(&guard->state, GUARD_QUIET) == GUARD_QUIET && !guard->blind)
                guard_sleep(guard);
}

void guard_wake(struct guard *guard) {
        bool slept = !uv_is_active((uv_handle_t *)&guard->timer);
        atomic_store(&guard->state, GUARD_BUSY);
        if (guard_take_changes(guard) || slept)
                guard_look(guard);
        if (!slept)
                return;
        if (guard->changes_fd >= 0)
                uv_poll_stop(&guard->changed);
        guard_set_timer(guard);
}

void guard_rouse(struct guard *guard) {
        if (atomic_exchange(&guard->state, GUARD_BUSY) == GUARD_ASLEEP)
                uv_async_send(&guard->asked);
}

static void guard_on_asked(uv_async_t *asked) {
        guard_wake(asked->data);
}

/* ---- Beginning and end ---- */

int guard_init(struct guard *guard, uv_loop_t *loop) {
        int error = uv_async_init(loop, &guard->asked, guard_on_asked);
        if (error)
                return error;
        error = guard_watch(guard, loop);
        if (error) {
                uv_close((uv_handle_t *)&guard->asked, NULL);
                return error;
        }
        uv_timer_init(loop, &guard->timer);
        guard->timer.data = guard->asked.data = guard->changed.data = guard;
        atomic_init(&guard->state, GUARD_QUIET);
        if (guard->blind)
                guard_set_timer(guard);
        else
                guard_sleep(guard);
        return 0;
}

void guard_stop(struct guard *guard) {
        uv_timer_stop(&guard->timer);
        if (guard->changes_fd >= 0)
                uv_poll_stop(&guard->changed);
        atomic_store(&guard->state, GUARD_BUSY);
}

void guard_deinit(struct guard *guard) {
        uv_close((uv_handle_t *)&guard->asked, NULL);
        uv_close((uv_handle_t *)&guard->timer, NULL);
        if (guard->changes_fd < 0)
                return;
        uv_close((uv_handle_t *)&guard->changed, NULL);
        close(guard->changes_fd);
}
