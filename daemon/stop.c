/* Owns the flag that the handlers of the start-up phase raise. */
#include "stop.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t stop_flag;

static void stop_raise(int signal_number) {
        (void)signal_number;
        stop_flag = 1;
}

void stop_watch(void) {
        struct sigaction action = {.sa_handler = stop_raise};
        sigemptyset(&action.sa_mask);
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
}

bool stop_requested(void) {
        return stop_flag != 0;
}
