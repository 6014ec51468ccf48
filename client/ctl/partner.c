/* Processes that work on one piece of memory, and futexes in it. */
#include "partner.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_SECONDS 5
#define ECHO_END      UINT32_MAX

void *partner_memory_new(size_t bytes) {
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        return memory != MAP_FAILED ? memory : NULL;
}

void partner_memory_free(void *memory, size_t bytes) {
        if (memory)
                munmap(memory, bytes);
}

int partner_start(pid_t *out, void (*body)(void *context), void *context) {
        pid_t parent = getpid(), child = fork();
        if (child < 0)
                return -errno;
        if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() == parent)
                        body(context);
                _exit(0);
        }
        *out = child;
        return 0;
}

void partner_await(pid_t partner) {
        while (waitpid(partner, NULL, 0) < 0 && errno == EINTR)
                continue;
}

int partner_sleep(const _Atomic uint32_t *word, uint32_t value) {
        const struct timespec limit = {.tv_sec = SLEEP_SECONDS};
        while (atomic_load(word) == value)
                if (syscall(SYS_futex, word, FUTEX_WAIT, value, &limit, NULL, 0) != 0 &&
                        errno == ETIMEDOUT)
                        return -ETIMEDOUT;
        return 0;
}

void partner_wake(_Atomic uint32_t *word) {
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

struct partner_echo {
        alignas(64) _Atomic uint32_t question;
        alignas(64) _Atomic uint32_t answer;
        pid_t partner;
};

static void echo_run(void *context) {
        struct partner_echo *echo = context;
        for (uint32_t seen = 0; seen != ECHO_END;) {
                if (partner_sleep(&echo->question, seen) != 0)
                        continue; /* nobody has asked for a while; its parent's end would end it */
                seen = atomic_load(&echo->question);
                atomic_store(&echo->answer, seen);
                partner_wake(&echo->answer);
        }
}

int partner_echo_start(struct partner_echo **out) {
        struct partner_echo *echo = partner_memory_new(sizeof(*echo));
        if (!echo)
                return -ENOMEM;
        int error = partner_start(&echo->partner, echo_run, echo);
        if (error != 0)
                partner_memory_free(echo, sizeof(*echo));
        else
                *out = echo;
        return error;
}

static int echo_ask(struct partner_echo *echo, uint32_t question) {
        uint32_t before = atomic_load(&echo->answer);
        atomic_store(&echo->question, question);
        partner_wake(&echo->question);
        return partner_sleep(&echo->answer, before);
}

int partner_echo_exchange(struct partner_echo *echo) {
        return echo_ask(echo, (atomic_load(&echo->question) + 1) % ECHO_END);
}

void partner_echo_stop(struct partner_echo *echo) {
        if (!echo)
                return;
        echo_ask(echo, ECHO_END);
        partner_await(echo->partner);
        partner_memory_free(echo, sizeof(*echo));
}
