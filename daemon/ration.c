/* See ration.h. The lock guards the daemon's ration; lines are written outside of it. */
#include "ration.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "log.h"
#include "worker.h"

#define RATION_NS UINT64_C(1000000000) /* for one */

static pthread_mutex_t daemon_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ration daemon_ration;

/* A bucket that leaks (Turner, 1986), kept as the time at which it is empty. */
bool ration_take(struct ration *ration, uint64_t now_ns, uint64_t *left_out) {
        uint64_t full_ns = ration->full_ns > now_ns ? ration->full_ns : now_ns;
        if (full_ns - now_ns > (RATION_BURST - 1) * RATION_NS) {
                ration->left_out++;
                return false;
        }
        ration->full_ns = full_ns + RATION_NS;
        *left_out = ration->left_out;
        ration->left_out = 0;
        return true;
}

static void left_out_log(uint64_t left_out) {
        if (left_out > 0)
                log_event(LOG_EVENT_WARNINGS_LEFT_OUT, NULL,
                        "%" PRIu64 " warnings about connections were left out: too many", left_out);
}

void ration_event(enum log_event event, const struct log_subject *about, const char *format, ...) {
        uint64_t left_out = 0;
        pthread_mutex_lock(&daemon_lock);
        bool may = ration_take(&daemon_ration, worker_clock_ns(), &left_out);
        pthread_mutex_unlock(&daemon_lock);
        if (!may)
                return;
        char text[512];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        left_out_log(left_out);
        log_event(event, about, "%s", text);
}

void ration_end(void) {
        pthread_mutex_lock(&daemon_lock);
        uint64_t left_out = daemon_ration.left_out;
        daemon_ration.left_out = 0;
        pthread_mutex_unlock(&daemon_lock);
        left_out_log(left_out);
}
