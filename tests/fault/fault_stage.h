/* A daemon that is killed and started again: its pool, its socket, its log, and buddyctl's judgement of it.
 *
 * Everything lies in one folder under the temporary folder; a watcher process clears up when the program is killed. One
 * thread. What goes wrong here ends the program with status 1. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct buddyclient;

struct fault_stage {
        const char *buddyd, *buddyctl;
        char folder[48], socket[64], log[64], notify[64], pool[32], size[32], max_size[32];
        int notify_fd;
        uint64_t cache_bytes; /* of each client; 1 MiB unless set */
        pid_t daemon;         /* 0: none runs */
        bool ready;           /* it has said so */
        bool lazy;            /* the pool is to be reserved as it is used */
        bool open;            /* to all users */
};

void stage_open(struct fault_stage *stage, const char *buddyd, const char *buddyctl, uint64_t size);

/* Nothing may be left in /dev/shm, if the last daemon ended cleanly. */
void stage_close(struct fault_stage *stage);

/* Starts the daemon and does not wait. */
void stage_start(struct fault_stage *stage, bool keep);

/* Waits for its READY=1. */
void stage_await(struct fault_stage *stage);

/* Waits until it is ready or says so in its log (true), or has ended by itself: *status is that of waitpid. The log is of
 * this start alone if it was emptied before. */
bool stage_await_or_ended(struct fault_stage *stage, int *status);
void stage_empty_log(const struct fault_stage *stage);

/* Objects of the pool in /dev/shm. */
unsigned stage_objects(const struct fault_stage *stage);

/* Ends it with this signal; SIGTERM must give status 0. A daemon that ended by itself before is a failure. */
void stage_end(struct fault_stage *stage, int signal);

/* buddyctl check, which must find nothing. */
void stage_check(struct fault_stage *stage);

/* Lines of all daemons' log with this word. */
unsigned stage_log_count(const struct fault_stage *stage, const char *word);

/* A client that is set up and not connected, or NULL. */
struct buddyclient *stage_client(const struct fault_stage *stage, const char *name, int timeout_ms);

/* Prints what went wrong and the end of the log, and ends the program. */
void stage_fail(const struct fault_stage *stage, const char *format, ...)
        __attribute__((format(printf, 2, 3), noreturn));

uint64_t now_us(void);
void pause_us(uint64_t microseconds);
