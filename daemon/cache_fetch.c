/* The cache of a client that has not come back yet: it is found among what its process has open, as far as we may look
 * there (one user's processes, or with the rights to trace). The process is alive, and the token in the memory is the
 * session's, so it is not somebody else's that has the pid by now. */
#include "cache_fetch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/pool.h"
#include "proto/cache_area.h"

static bool is_area(int folder, const char *name) {
        char target[64];
        ssize_t length = readlinkat(folder, name, target, sizeof(target) - 1);
        if (length < 0)
                return false;
        target[length] = 0;
        return strcmp(target, "/memfd:" CACHE_AREA_NAME " (deleted)") == 0;
}

static bool has_token(int fd, const uint8_t *token) {
        uint8_t found[sizeof(((struct cache_area *)0)->token)];
        return pread(fd, found, sizeof(found), offsetof(struct cache_area, token)) ==
                       sizeof(found) &&
               memcmp(found, token, sizeof(found)) == 0;
}

int cache_fetch(const struct pool_session_identity *identity) {
        char path[32];
        snprintf(path, sizeof(path), "/proc/%u/fd", identity->pid);
        DIR *folder = opendir(path);
        int found = -1;
        for (struct dirent *entry; folder && found < 0 && (entry = readdir(folder));) {
                if (!is_area(dirfd(folder), entry->d_name))
                        continue;
                found = openat(dirfd(folder), entry->d_name, O_RDWR | O_CLOEXEC);
                if (found >= 0 && !has_token(found, identity->token)) {
                        close(found);
                        found = -1;
                }
        }
        if (folder)
                closedir(folder);
        return found;
}
