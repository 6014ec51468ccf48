/* A second process of one's own for a measurement, memory that both see, and sleeping and waking on a word
 * of it. The partner never outlives the process that started it. */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Zeroed memory that children share; NULL: none. */
void *partner_memory_new(size_t bytes);
void partner_memory_free(void *memory, size_t bytes);

/* Runs body(context) in a child, which ends when body returns. -errno of fork(2). */
int partner_start(pid_t *out, void (*body)(void *context), void *context);

/* Waits for its end. */
void partner_await(pid_t partner);

/* Sleeps while *word is value. -ETIMEDOUT: still, after 5 seconds, so that nobody sleeps for ever beside a partner
 * that was killed. */
int partner_sleep(const _Atomic uint32_t *word, uint32_t value);

/* Wakes who sleeps on word, in any process. */
void partner_wake(_Atomic uint32_t *word);

/* The floor of all that wakes a process: one word to the partner, one back. */
struct partner_echo;

/* -errno; partner_echo_stop ends it. */
int partner_echo_start(struct partner_echo **out);
int partner_echo_exchange(struct partner_echo *echo); /* -ETIMEDOUT */
void partner_echo_stop(struct partner_echo *echo);    /* NULL is fine */
