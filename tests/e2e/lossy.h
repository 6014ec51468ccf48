/* A way between a client and its daemon on which a chosen reply gets lost: the daemon is killed when it has answered, the answer is not
 * passed on, and the next daemon is started. So each call can be cut off after it has happened, without luck.
 *
 * It stands in the client's own process, so that the daemon sees the client's pid. One client; the test's main thread passes everything on
 * while the calls run on another one. */
#pragma once

#include "harness.h"

struct lossy {
        struct scene *scene;
        const char *size; /* of the pool, for the next daemon */
        char path[112];   /* where the client connects */
        int listener;
        int client, daemon; /* connections; -1: none */
        int losses[3];      /* crash at the so-manieth reply, and after that again; 0: no more */
        bool request;       /* the first loss is the request's: it never arrives */
        unsigned next;      /* loss */
        unsigned crashes;   /* so far */
        void (*absent)(
                void *context); /* runs when the next daemon is there and the client is not; may be NULL */
        void *context;
};

void lossy_open(struct lossy *lossy, struct scene *scene, const char *size);
void lossy_close(struct lossy *lossy);

/* Runs the function on another thread, and passes on or loses what it says until it has returned. */
void lossy_run(struct lossy *lossy, void (*function)(void *), void *argument);
