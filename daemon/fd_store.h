/* Descriptors that the service manager passes to this process: the socket to listen on, and what it kept of an
 * earlier daemon (FDSTORE=, see sd_notify(3) and FileDescriptorStoreMax= in systemd.service(5)). Memory without a
 * name outlives the daemon there. A descriptor that is passed is open as long as the process runs, or until whoever
 * asked for it closes it. */
#pragma once

#include <stdbool.h>

#define FD_STORE_NAME_BYTES 96

/* "buddyd.POOL.KIND": the name of a pool's object in the store. */
void fd_store_name(const char *pool, const char *kind, char name[static FD_STORE_NAME_BYTES]);

/* A service manager listens to us; whether it keeps what it is given is its own decision. */
bool fd_store_exists(void);

/* Gives it a copy to keep under a name. -errno. */
int fd_store_put(const char *name, int fd);

/* It need not keep a pool's objects any more, the ledger last. */
void fd_store_remove_pool(const char *pool);

/* The same, and closes what it passed of them. */
void fd_store_discard_pool(const char *pool);

/* What it kept under this name. 0; -ENOENT: nothing; -EEXIST: more than one thing. */
int fd_store_passed(const char *name, int *fd);

/* How many descriptors it passes that are not of its store, and the first of them. -errno: what it says about
 * them is wrong. */
int fd_store_passed_sockets(int *first);
