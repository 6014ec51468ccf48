/* See crash_threads.h. */
#include "crash_threads.h"

#include <stdlib.h>
#include <ucontext.h>

#define STACK_BYTES (512u * 1024)

static struct thread {
        ucontext_t context;
        char *stack; /* owned, for good */
        const struct operation *operation;
        const struct spinlock *waits; /* NULL: for none */
        bool at_store;                /* stands before one */
        bool at_note;                 /* which is of its session's own progress */
        bool was_note;                /* so was the last one */
        int result;
        bool ended;
} threads[THREADS];

static ucontext_t scheduler;
static struct thread *running; /* NULL: the scheduler */
static struct scene *scene_of_run;
static bool stops_at_locks;

static void thread_stop(void) {
        struct thread *self = running;
        running = NULL;
        require(swapcontext(&self->context, &scheduler) == 0, "swapcontext");
}

/* Progress and step of a session: its operations alone write them, and nothing but a take-over reads them. */
static bool is_note(const void *address) {
        const char *sessions = (const char *)scene_of_run->fixture.ledger.sessions;
        size_t offset = (size_t)((const char *)address - sessions);
        return offset < LEDGER_SESSIONS * sizeof(struct ledger_session) &&
               offset % sizeof(struct ledger_session) >= offsetof(struct ledger_session, progress);
}

static void stop_before_store(const void *address, uint64_t value) {
        (void)value;
        if (!running)
                return;
        running->at_store = true;
        running->was_note = running->at_note;
        running->at_note = is_note(address);
        thread_stop();
}

static void stop_at_lock(const struct spinlock *lock) {
        bool held = atomic_load(&lock->held) != 0;
        require(running != NULL || !held, "a lock is held for good");
        if (!running || (!held && !stops_at_locks))
                return;
        running->waits = lock;
        thread_stop();
}

static void thread_main(void) {
        struct thread *self = running;
        self->result = self->operation->run(scene_of_run);
        self->ended = true;
        running = NULL;
}

static void thread_prepare(struct thread *thread, const struct operation *operation) {
        if (!thread->stack)
                thread->stack = malloc(STACK_BYTES);
        require(thread->stack && getcontext(&thread->context) == 0, "getcontext");
        thread->context.uc_stack.ss_sp = thread->stack;
        thread->context.uc_stack.ss_size = STACK_BYTES;
        thread->context.uc_link = &scheduler;
        makecontext(&thread->context, thread_main, 0);
        thread->operation = operation;
        thread->waits = NULL;
        thread->at_store = thread->at_note = thread->was_note = false;
        thread->ended = false;
}

void threads_start(
        struct scene *scene, const struct operation *const pair[THREADS], bool stop_at_locks) {
        stops_at_locks = stop_at_locks;
        ledger_store_hook = stop_before_store;
        spinlock_hook = stop_at_lock;
        scene_of_run = scene;
        thread_prepare(&threads[0], pair[0]);
        thread_prepare(&threads[1], pair[1]);
}

bool thread_can_go_on(unsigned thread) {
        const struct thread *at = &threads[thread];
        return !at->ended && (!at->waits || atomic_load(&at->waits->held) == 0);
}

bool thread_go_on(unsigned thread) {
        struct thread *at = &threads[thread];
        bool stores = at->at_store;
        at->at_store = false;
        at->waits = NULL;
        running = at;
        require(swapcontext(&scheduler, &at->context) == 0, "swapcontext");
        return stores;
}

bool thread_has_choice(unsigned thread) {
        const struct thread *at = &threads[thread];
        return !at->at_store || !at->at_note || !at->was_note;
}

bool threads_ended(void) {
        return threads[0].ended && threads[1].ended;
}

int thread_result(unsigned thread) {
        return threads[thread].result;
}
