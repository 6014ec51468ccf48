/* See shm_object.h. */
#include "shm_object.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

#define LENGTH_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

void shm_object_name(const char *pool, const char *kind, char name[static SHM_NAME_BYTES]) {
        ledger_object_name(geteuid(), pool, kind, name);
}

static int shm_object_check(int fd) {
        struct stat stat;
        if (fstat(fd, &stat) < 0)
                return -errno;
        if (!S_ISREG(stat.st_mode) || stat.st_uid != geteuid() || (stat.st_mode & 077))
                return -EPERM;
        return 0;
}

int shm_object_open(const char *name, int flags, int *fd) {
        int opened = shm_open(name, flags, 0);
        if (opened < 0)
                return errno == EACCES || errno == ELOOP ? -EPERM : -errno;
        int error = shm_object_check(opened);
        if (error)
                close(opened);
        else
                *fd = opened;
        return error;
}

int shm_object_create(const char *name, int *fd) {
        int created = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (created < 0)
                return -errno;
        if (fchmod(created, 0600) < 0) { /* the umask may have taken bits away */
                int error = -errno;
                shm_unlink(name);
                close(created);
                return error;
        }
        *fd = created;
        return 0;
}

int shm_object_claim(const char *name, int *fd, bool *made) {
        for (;;) {
                int claimed;
                *made = false;
                int error = shm_object_open(name, O_RDWR, &claimed);
                if (error == -ENOENT) {
                        error = shm_object_create(name, &claimed);
                        *made = !error;
                }
                if (error == -EEXIST)
                        continue;
                if (error)
                        return error;
                error = lock_take(claimed);
                if (!error || error == -EAGAIN) {
                        *fd = claimed;
                        return error;
                }
                if (*made && error != -ESTALE)
                        shm_unlink(name);
                close(claimed);
                if (error != -ESTALE)
                        return error;
        }
}

int memfd_object_create(const char *name, uint64_t length_bytes, int *fd) {
        int created = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
        if (created < 0 && errno == EINVAL)
                created = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (created < 0)
                return -errno;
        /* With the default mode, another uid could open a read-only descriptor again for writing. */
        if (fchmod(created, 0600) < 0 || ftruncate(created, (off_t)length_bytes) < 0 ||
                fcntl(created, F_ADD_SEALS, LENGTH_SEALS) < 0) {
                int error = -errno;
                close(created);
                return error;
        }
        *fd = created;
        return 0;
}

bool memfd_object_is_ours(int fd) {
        int seals = fcntl(fd, F_GET_SEALS);
        int flags = fcntl(fd, F_GETFL);
        return seals >= 0 && (seals & LENGTH_SEALS) == LENGTH_SEALS && flags >= 0 &&
               (flags & O_ACCMODE) == O_RDWR && shm_object_check(fd) == 0;
}

int memfd_object_open_read_only(int fd, int *read_only_fd) {
        char path[32];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int opened = open(path, O_RDONLY | O_CLOEXEC);
        if (opened < 0)
                return -errno;
        *read_only_fd = opened;
        return 0;
}
