/* See lock.h. An open-file-description lock has no process id of its own, so its holder is searched. */
#include "lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

bool lock_is_named(int fd) {
        struct stat stat;
        return fstat(fd, &stat) < 0 || stat.st_nlink > 0;
}

int lock_take(int fd) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
                return errno == EACCES ? -EAGAIN : -errno;
        struct stat stat;
        if (fstat(fd, &stat) < 0)
                return -errno;
        return stat.st_nlink > 0 ? 0 : -ESTALE;
}

static bool process_has(pid_t pid, const struct stat *wanted) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
        DIR *folder = opendir(path);
        if (!folder)
                return false;
        bool found = false;
        for (const struct dirent *entry; !found && (entry = readdir(folder));) {
                struct stat seen;
                found = entry->d_name[0] != '.' &&
                        fstatat(dirfd(folder), entry->d_name, &seen, 0) == 0 &&
                        seen.st_dev == wanted->st_dev && seen.st_ino == wanted->st_ino;
        }
        closedir(folder);
        return found;
}

pid_t lock_find_holder(int fd) {
        struct stat wanted;
        DIR *processes = fstat(fd, &wanted) == 0 ? opendir("/proc") : NULL;
        if (!processes)
                return 0;
        pid_t found = 0;
        for (const struct dirent *entry; !found && (entry = readdir(processes));) {
                pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
                if (pid > 0 && pid != getpid() && process_has(pid, &wanted))
                        found = pid;
        }
        closedir(processes);
        return found;
}

const char *lock_describe_holder(int fd, char text[static LOCK_HOLDER_TEXT]) {
        pid_t pid = lock_find_holder(fd);
        if (pid)
                snprintf(text, LOCK_HOLDER_TEXT, "another daemon (pid %d)", (int)pid);
        else
                snprintf(text, LOCK_HOLDER_TEXT, "another daemon");
        return text;
}
