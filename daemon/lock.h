/* Locks on files that keep a second daemon out, and who has them. A lock is of an open file description:
 * it ends with the last descriptor, however the process ends. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Takes the lock. -EAGAIN: another has it; -ESTALE: the file's name was removed meanwhile, so this lock
 * keeps nobody out: open it again; other -errno. */
int lock_take(int fd);

/* False once the name of the file was removed; true where that cannot be seen. */
bool lock_is_named(int fd);

/* Another process, of those that this user may look into, that has the file behind fd open. 0: none
 * was seen. Looks through all of /proc. */
pid_t lock_find_holder(int fd);

#define LOCK_HOLDER_TEXT 48

/* "another daemon (pid 4711)", or without the number when it is not to be seen. Returns text. */
const char *lock_describe_holder(int fd, char text[static LOCK_HOLDER_TEXT]);
