/* The kernel objects that a pool lives in: named POSIX shared memory, which outlives the daemon, and
 * memfds. A name carries the uid, so that users do not collide; an object of another user, or one that
 * others may open, is never used. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/ledger.h"

#define SHM_NAME_BYTES LEDGER_OBJECT_NAME_BYTES

/* Of this process's own user. */
void shm_object_name(const char *pool, const char *kind, char name[static SHM_NAME_BYTES]);

/* Opens what exists, with O_RDWR or O_RDONLY. -ENOENT; -EPERM: another user's, or not for its owner
 * alone; other -errno. */
int shm_object_open(const char *name, int flags, int *fd);

/* Makes an empty object of mode 0600. -EEXIST; other -errno. */
int shm_object_create(const char *name, int *fd);

/* Opens or makes an object (*made) and locks it. As above but -ESTALE; on -EAGAIN
 * *fd is open, too, for finding out who is in, and is the caller's to close. */
int shm_object_claim(const char *name, int *fd, bool *made);

/* An unnamed, sealable object of length_bytes and mode 0600 whose length is fixed for ever. -errno. */
int memfd_object_create(const char *name, uint64_t length_bytes, int *fd);

/* It was made by the above, for this user, and is open for reading and writing. */
bool memfd_object_is_ours(int fd);

/* The same object again, for reading only. -errno. */
int memfd_object_open_read_only(int fd, int *read_only_fd);
