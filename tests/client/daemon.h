/* A real daemon for a test: a pool and a socket of its own, ended by its pid. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct buddyclient;

struct daemon_process {
        pid_t pid;
        char pool[48];
        char folder[64];
        char path[96];
        char size[32];
};

/* Starts the program with a pool of that many bytes, and waits until it answers. 0 or -1. */
int daemon_process_start(struct daemon_process *daemon, const char *program, uint64_t pool_bytes);

/* Kills it as a crash would. */
void daemon_process_kill(struct daemon_process *daemon);

/* Starts the program again on what the killed one left behind, and does not wait. 0 or -1. */
int daemon_process_restart(struct daemon_process *daemon, const char *program);

/* Ends it with SIGTERM. Its exit status, or -1 if a signal ended it. */
int daemon_process_stop(struct daemon_process *daemon);

/* A client that is set up for this daemon and not connected, or NULL. */
struct buddyclient *daemon_process_client(const struct daemon_process *daemon);

/* The same, connected. */
struct buddyclient *daemon_process_connect(const struct daemon_process *daemon);
