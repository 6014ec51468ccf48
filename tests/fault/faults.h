/* Makes one call to the system fail: the n-th of all that allocate memory, map it, open a descriptor, start a thread or enter the
 * kernel for something that may be refused. Every other call is the real one. Also counts what is allocated and mapped.
 *
 * It works by standing before libc: a program links it first, or has it preloaded, in which case FAULTS_STATE in the environment
 * names a file of struct faults that another process shares.
 *
 * Calls that only give something back (free, close, munmap, unlink) do not fail, nor those that wait, nor reads and writes of pipes and
 * eventfds, which the kernel does not refuse and libuv answers with an abort; nor pipe2, which libuv alone calls, once, right behind
 * a pipe of ours that may fail; nor epoll_ctl where libuv calls it, for its own few descriptors. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define FAULTS_STATE "FAULTS_STATE"

struct faults {
        _Atomic uint64_t at;    /* which call fails, from 1; 0: none */
        _Atomic uint64_t count; /* calls since it was armed */
        _Atomic uint32_t fired;
        char name[28];          /* of the call that failed */
        _Atomic int64_t blocks; /* allocated and not freed */
        _Atomic int64_t mapped; /* bytes mapped and not unmapped */
};

/* This process's. */
struct faults *faults_here(void);

/* Those in a file, which is made; NULL if that fails. */
struct faults *faults_share(const char *path);

void faults_arm(struct faults *faults, uint64_t at);

/* The name of the call that failed, or NULL. */
const char *faults_disarm(struct faults *faults);
