/* See waiters.h. */
#include "waiters.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "proto/quota.h"
#include "users.h"

#define WAITERS_PLACES 65536u /* of which uids have shares */

/* The waiters of one uid; exists while there are any. */
struct waiter_line {
        struct link in_lines;
        struct link waiters;
        uint32_t uid;
        uint32_t count;
};

int waiters_init(struct waiters *waiters, struct pool *pool) {
        int error = pthread_mutex_init(&waiters->lock, NULL);
        if (error)
                return -error;
        waiters->pool = pool;
        atomic_init(&waiters->user_max, QUOTA_NONE);
        link_init(&waiters->lines);
        atomic_init(&waiters->count, 0);
        return 0;
}

void waiters_deinit(struct waiters *waiters) {
        pthread_mutex_destroy(&waiters->lock);
}

static struct waiter_line *line_find(struct waiters *waiters, uint32_t uid) {
        for (struct link *at = waiters->lines.next; at != &waiters->lines; at = at->next) {
                struct waiter_line *line = LINK_OWNER(at, struct waiter_line, in_lines);
                if (line->uid == uid)
                        return line;
        }
        return NULL;
}

/* A share is half of the places that the others leave. */
static bool waiters_allow(struct waiters *waiters, uint32_t uid) {
        const struct waiter_line *line = line_find(waiters, uid);
        uint64_t own = line ? line->count : 0, allowed = atomic_load(&waiters->user_max);
        uint64_t others = waiters_count(waiters) - own;
        if (allowed == QUOTA_SHARE && user_is_privileged(uid))
                return true;
        if (allowed == QUOTA_SHARE)
                allowed = others < WAITERS_PLACES ? (WAITERS_PLACES - others) / 2 : 0;
        return own < allowed;
}

static struct waiter_line *line_of(struct waiters *waiters, uint32_t uid) {
        struct waiter_line *line = line_find(waiters, uid);
        if (line)
                return line;
        line = malloc(sizeof(*line));
        if (!line)
                return NULL;
        line->uid = uid;
        line->count = 0;
        link_init(&line->waiters);
        link_init(&line->in_lines);
        list_append(&waiters->lines, &line->in_lines);
        return line;
}

static void waiter_leave_locked(
        struct waiters *waiters, struct waiter *waiter, enum waiter_state state) {
        struct waiter_line *line = waiter->line;
        link_remove(&waiter->in_line);
        waiter->line = NULL;
        waiter->state = state;
        line->count--;
        atomic_fetch_sub_explicit(&waiters->count, 1, memory_order_relaxed);
        if (!link_used(&line->waiters)) {
                link_remove(&line->in_lines);
                free(line);
        }
}

enum line_outcome {
        LINE_SERVED,
        LINE_BLOCKED, /* its first waiter has to wait on */
        LINE_GONE,    /* nobody is left in it */
};

static enum waiter_state waiter_outcome(int error) {
        if (error == 0)
                return WAITER_GRANTED;
        return error == -ENOSPC || error == -EDQUOT ? WAITER_REFUSED : WAITER_OUT;
}

/* Serves the first waiter of a line, skipping those whose session is closing. One whose block cannot be backed
 * is refused: what others return does not help it. */
static enum line_outcome line_serve_locked(struct waiters *waiters, struct waiter_line *line,
        const struct waiter *entering, unsigned *failed_order) {
        for (;;) {
                struct waiter *head = LINK_OWNER(line->waiters.next, struct waiter, in_line);
                bool last = head->in_line.next == &line->waiters;
                /* What found no block of a smaller order finds none of a larger one either. */
                if (head->order >= *failed_order)
                        return LINE_BLOCKED;
                int error = pool_grant(waiters->pool, head->session, head->order, &head->block);
                if (error == -ENOMEM) {
                        *failed_order = head->order;
                        return LINE_BLOCKED;
                }
                head->error = error;
                waiter_leave_locked(waiters, head, waiter_outcome(error));
                if (head->state != WAITER_OUT && head != entering)
                        head->settled(head);
                if (last)
                        return LINE_GONE;
                if (!error)
                        return LINE_SERVED;
        }
}

/* Goes round the lines until each has been tried in vain since the last success. A line that was served
 * goes to the end; one that was not keeps its turn, as all of them come round again. */
static void waiters_serve_locked(struct waiters *waiters, const struct waiter *entering) {
        unsigned failed_order = ORDER_COUNT;
        struct link *first_blocked = NULL;
        while (link_used(&waiters->lines) && waiters->lines.next != first_blocked) {
                struct link *turn = waiters->lines.next;
                struct waiter_line *line = LINK_OWNER(turn, struct waiter_line, in_lines);
                enum line_outcome outcome =
                        line_serve_locked(waiters, line, entering, &failed_order);
                if (outcome == LINE_GONE)
                        continue;
                link_remove(turn);
                list_append(&waiters->lines, turn);
                if (outcome == LINE_SERVED)
                        first_blocked = NULL;
                else if (!first_blocked)
                        first_blocked = turn;
        }
}

static uint64_t clock_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

#define PASSED_MAX 4096u /* bounds what a client that claims to have waited can cost */

/* Behind all that came before it; those of an earlier daemon come back in any order. */
static void line_enter(struct waiter_line *line, struct waiter *waiter) {
        uint64_t now = clock_ms();
        waiter->since_ms = waiter->waited_ms < now ? now - waiter->waited_ms : 0;
        struct link *behind = line->waiters.previous;
        for (unsigned passed = 0; behind != &line->waiters && passed < PASSED_MAX; passed++) {
                if (LINK_OWNER(behind, struct waiter, in_line)->since_ms <= waiter->since_ms)
                        break;
                behind = behind->previous;
        }
        list_insert(behind, &waiter->in_line);
}

int waiters_enter(struct waiters *waiters, struct waiter *waiter, uint32_t uid) {
        pthread_mutex_lock(&waiters->lock);
        int error = waiters_allow(waiters, uid) ? 0 : -EUSERS;
        struct waiter_line *line = error ? NULL : line_of(waiters, uid);
        if (!line) {
                pthread_mutex_unlock(&waiters->lock);
                return error ? error : -ENOMEM;
        }
        line_enter(line, waiter);
        line->count++;
        waiter->line = line;
        waiter->state = WAITER_QUEUED;
        atomic_fetch_add_explicit(&waiters->count, 1, memory_order_seq_cst);
        waiters_fence(waiters);
        waiters_serve_locked(waiters, waiter);
        enum waiter_state state = waiter->state;
        pthread_mutex_unlock(&waiters->lock);
        switch (state) {
        case WAITER_QUEUED:
                return 0;
        case WAITER_GRANTED:
                return 1;
        case WAITER_REFUSED:
                return waiter->error;
        case WAITER_OUT:
        case WAITER_TURNED_AWAY:
                break;
        }
        return -ESTALE;
}

static unsigned waiter_ahead_locked(const struct waiter *waiter) {
        const struct link *at = waiter->in_line.previous;
        unsigned ahead = 0;
        for (; at != &waiter->line->waiters && ahead < WAITERS_AHEAD_MAX; at = at->previous)
                ahead++;
        return ahead;
}

bool waiters_withdraw(struct waiters *waiters, struct waiter *waiter, unsigned *ahead) {
        pthread_mutex_lock(&waiters->lock);
        bool queued = waiter->state == WAITER_QUEUED;
        bool settled = !queued && waiter->state != WAITER_OUT;
        if (queued && ahead)
                *ahead = waiter_ahead_locked(waiter);
        if (queued)
                waiter_leave_locked(waiters, waiter, WAITER_OUT);
        /* Who was behind it in its line may be served by what did not suffice for it. */
        if (queued && link_used(&waiters->lines))
                waiters_serve_locked(waiters, NULL);
        pthread_mutex_unlock(&waiters->lock);
        return settled;
}

void waiters_turn_away(struct waiters *waiters) {
        pthread_mutex_lock(&waiters->lock);
        while (link_used(&waiters->lines)) {
                struct waiter_line *line =
                        LINK_OWNER(waiters->lines.next, struct waiter_line, in_lines);
                struct waiter *head = LINK_OWNER(line->waiters.next, struct waiter, in_line);
                waiter_leave_locked(waiters, head, WAITER_TURNED_AWAY);
                head->settled(head);
        }
        pthread_mutex_unlock(&waiters->lock);
}

uint64_t waiters_oldest_ms(struct waiters *waiters) {
        if (waiters_count(waiters) == 0)
                return 0;
        pthread_mutex_lock(&waiters->lock);
        uint64_t now = clock_ms(), oldest = now;
        for (struct link *at = waiters->lines.next; at != &waiters->lines; at = at->next) {
                struct waiter_line *line = LINK_OWNER(at, struct waiter_line, in_lines);
                if (!link_used(&line->waiters))
                        continue;
                struct waiter *head = LINK_OWNER(line->waiters.next, struct waiter, in_line);
                if (head->since_ms < oldest)
                        oldest = head->since_ms;
        }
        pthread_mutex_unlock(&waiters->lock);
        return now - oldest;
}

uint32_t waiters_of(struct waiters *waiters, uint32_t uid) {
        pthread_mutex_lock(&waiters->lock);
        const struct waiter_line *line = line_find(waiters, uid);
        uint32_t count = line ? line->count : 0;
        pthread_mutex_unlock(&waiters->lock);
        return count;
}

bool waiters_has_others(struct waiters *waiters, uint32_t uid) {
        return waiters_count(waiters) > waiters_of(waiters, uid);
}

void waiters_serve_now(struct waiters *waiters) {
        pthread_mutex_lock(&waiters->lock);
        waiters_serve_locked(waiters, NULL);
        pthread_mutex_unlock(&waiters->lock);
}
