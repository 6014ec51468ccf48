/* A lock for critical sections of some tens of nanoseconds: one atomic exchange to take, one plain
 * store to release. After a short spin it yields, so a preempted holder costs a time slice at most.
 * Never hold one across a system call. Zeroed memory is an unlocked lock. */
#pragma once

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

struct spinlock {
        _Atomic uint32_t held;
};

static inline void spinlock_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield");
#endif
}

/* Called before a lock is taken, and again and again while it is waited for, when the core is built with
 * LEDGER_HOOK, for tests that decide which thread goes on. */
#ifdef LEDGER_HOOK
extern void (*spinlock_hook)(const struct spinlock *lock);
#endif

static inline void spinlock_call_hook(const struct spinlock *lock) {
#ifdef LEDGER_HOOK
        if (spinlock_hook)
                spinlock_hook(lock);
#endif
        (void)lock;
}

/* The rest of spinlock_lock, kept out of its callers' straight line. */
__attribute__((noinline, cold, unused)) static void spinlock_wait(struct spinlock *lock) {
        unsigned spins = 0;
        do {
                while (atomic_load_explicit(&lock->held, memory_order_relaxed)) {
                        spinlock_call_hook(lock);
                        if (++spins < 64)
                                spinlock_relax();
                        else
                                sched_yield();
                }
        } while (atomic_exchange_explicit(&lock->held, 1, memory_order_acquire));
}

static inline void spinlock_lock(struct spinlock *lock) {
        spinlock_call_hook(lock);
        if (__builtin_expect(
                    atomic_exchange_explicit(&lock->held, 1, memory_order_acquire) != 0, 0))
                spinlock_wait(lock);
}

static inline void spinlock_unlock(struct spinlock *lock) {
        atomic_store_explicit(&lock->held, 0, memory_order_release);
}
