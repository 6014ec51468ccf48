/* The stage of the end-to-end tests: real daemons on sockets and pools of their own, buddyctl as a process, and
 * the questions that nearly every test asks. A failed expectation ends the test.
 *
 * Everything a test process makes lies in one folder under the temporary folder and carries its pid in the pool's name, so
 * that tests run beside each other; a watcher process clears up when a test dies before it could. Call from
 * the test's main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "client/buddyclient.h"
#include "json.h"

#define SCENE_PAGE    4096ull
#define MIB           (1024ull * 1024)
#define ARGUMENTS_MAX 40
#define PATIENCE_MS   20000 /* until a condition that must come true is given up */
/* The timeout of a client that gives up on a daemon that is frozen or away. Its other calls must be answered, also on a machine
 * that stands still for half a second, as a shared one does. */
#define IMPATIENT_MS 1500

struct scene {
        char folder[80];  /* 0755 */
        char socket[104]; /* in the folder */
        char pool[40];
        char notify[104];
        int notify_fd;
        unsigned starts;            /* of a daemon so far; each has a file for its standard error */
        pid_t daemon;               /* 0: none runs */
        bool bare;                  /* start without --socket and --pool */
        uid_t uid;                  /* the daemon's, and buddyctl's; 0: this process's own */
        uint64_t fd_limit;          /* the daemon's RLIMIT_NOFILE; 0: this process's own */
        const char *environment[4]; /* "NAME=value" for the daemon and buddyctl, NULL at the end */
};

/* Names a socket and a pool; nothing runs yet. */
void scene_open(struct scene *scene);

/* Starts buddyd with these arguments (NULL at the end) and returns when it says READY=1. */
void scene_start(struct scene *scene, ...) __attribute__((sentinel));

/* The same with a config file that lets every user in, has these lines of [buddyd] and of the pool, and a pool of 4 MiB. */
void scene_start_limited(struct scene *scene, const char *daemon_keys, const char *pool_keys);

/* Starts buddyd, which must end by itself with this status, having written exactly one line (but what it noted
 * before it could know, for status 1); returns that line. */
const char *scene_refused(struct scene *scene, int status, ...) __attribute__((sentinel));

/* Starts buddyd: true when it serves, false when it refused with status 1; anything else fails. */
bool scene_start_or_refuse(struct scene *scene, ...) __attribute__((sentinel));

/* SIGTERM or another; returns the exit status, or -signal. */
int scene_stop(struct scene *scene, int signal);
void scene_kill(struct scene *scene);

/* Stops the daemon as a debugger would, and lets it go on; returns when it stands. */
void scene_freeze(const struct scene *scene);
void scene_thaw(const struct scene *scene);

/* Checks the pool, stops the daemon (status 0), and finds nothing left in /dev/shm. */
void scene_close(struct scene *scene);

/* All that the daemon that was started last has written on its standard error. */
const char *scene_errors(const struct scene *scene);

/* Objects in /dev/shm whose name holds the pool's; path, where wanted, gets the first one of size bytes. */
size_t scene_shm_count(const struct scene *scene);
bool scene_shm_find(const struct scene *scene, uint64_t size, char *path, size_t path_size);

size_t scene_daemon_fds(const struct scene *scene);
uint64_t scene_daemon_resident(const struct scene *scene); /* bytes */
double scene_daemon_cpu(const struct scene *scene);        /* seconds */
/* Until no thread of the daemon has woken up for two seconds. */
void scene_await_idle(const struct scene *scene);

/* ---- Programs ---- */

struct run {
        int status; /* exit status, or -signal */
        char *out, *err;
};

const char *program_buddyd(void);
const char *program_buddyctl(void);

/* Runs to the end. The result lives until the fourth call after this one. */
const struct run *program_run(const struct scene *scene, const char *const *arguments);

/* buddyctl on this scene's socket and pool. */
const struct run *ctl(const struct scene *scene, ...) __attribute__((sentinel));
/* The same, which must exit 0 and print one JSON document. */
const struct json *ctl_json(const struct scene *scene, ...) __attribute__((sentinel));
/* The same, which must exit with this status, print nothing, and one line of error, which is returned. */
const char *ctl_refused(const struct scene *scene, int status, ...) __attribute__((sentinel));

void expect_one_line(const char *text, const char *what);
bool has_digit(const char *text);

/* ---- Clients ---- */

/* Connected to the scene's pool, without a cache. */
struct buddyclient *client_new(const struct scene *scene);
/* NULL on failure, expects nothing: for processes that a test forks. */
struct buddyclient *client_try(const struct scene *scene);
/* The same with the library's own cache, as large as it is unless set. */
struct buddyclient *client_caching(const struct scene *scene);
struct buddyclient *client_caching_bytes(const struct scene *scene, uint64_t bytes);
struct buddyclient_stats stats_of(struct buddyclient *client);
/* Expects held + cached + free == size and no fault from buddyctl check. */
void expect_sound(const struct scene *scene);
/* Expects this many bytes held, at once. */
void expect_held(struct buddyclient *observer, uint64_t bytes);
/* The same, some time soon. */
void await_held(struct buddyclient *observer, uint64_t bytes);
void await_waiters(struct buddyclient *observer, uint64_t count);
/* Returns them while no daemon answers, all at once on threads of their own: expects 0 or -ENOTCONN of each. */
void release_in_vain(
        struct buddyclient *client, const struct buddyclient_range *ranges, size_t count);

/* A number of stats --json: now, and until it is this one. */
int64_t scene_figure(const struct scene *scene, const char *name);
void scene_await_figure(const struct scene *scene, const char *name, int64_t value);
/* Until the daemon that was started last has written this on its standard error. */
void scene_await_line(const struct scene *scene, const char *text);

/* ---- Processes and time ---- */

uint64_t now_ms(void);

/* Forks a process that dies with this one; 0 in the child, which must leave by _exit. */
pid_t process_fork(void);
/* In a child that is to become one of the scene's programs: its environment, and its user. */
void process_environment(const struct scene *scene);
void process_become(const struct scene *scene);

/* Its exit status, or -signal. */
int process_wait(pid_t process);
int process_kill(pid_t process);

/* One byte over a pipe, within PATIENCE_MS; -1 when the other side is gone. */
int byte_read(int fd);
void byte_write(int fd, int byte);

/* A mount namespace of this test's own with an empty /dev/shm of this size and an empty /run; false where the machine does not
 * allow it. */
bool stage_private(uint64_t shm_bytes);
