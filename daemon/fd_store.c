/* See fd_store.h. Nothing is remembered: the environment says what was passed, as often as it is asked. */
#include "fd_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

void fd_store_name(const char *pool, const char *kind, char name[static FD_STORE_NAME_BYTES]) {
        snprintf(name, FD_STORE_NAME_BYTES, "buddyd.%s.%s", pool, kind);
}

/* As fd_store_name makes them; the units' own names for sockets look otherwise. */
static bool name_is_of_store(const char *name) {
        const char *kind = strrchr(name, '.');
        return strncmp(name, "buddyd.", 7) == 0 &&
               (strcmp(kind, ".segment") == 0 || strcmp(kind, ".ledger") == 0);
}

static void names_free(char **names, int count) {
        for (int i = 0; i < count; i++)
                free(names[i]);
        free(names);
}

bool fd_store_exists(void) {
        const char *path = getenv("NOTIFY_SOCKET");
        return path && *path;
}

int fd_store_put(const char *name, int fd) {
        char message[FD_STORE_NAME_BYTES + 32];
        snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s", name);
        int result = sd_pid_notify_with_fds(0, 0, message, &fd, 1);
        return result < 0 ? result : result == 0 ? -ENOTCONN : 0;
}

static void fd_store_remove(const char *name) {
        sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}

static void fd_store_close(const char *name) {
        char **names = NULL;
        int count = sd_listen_fds_with_names(0, &names);
        for (int i = 0; i < count; i++) {
                if (strcmp(names[i], name) == 0)
                        close(SD_LISTEN_FDS_START + i);
        }
        if (count > 0)
                names_free(names, count);
}

static void fd_store_each(const char *pool, void (*act)(const char *name)) {
        char name[FD_STORE_NAME_BYTES];
        fd_store_name(pool, "segment", name);
        act(name);
        fd_store_name(pool, "ledger", name);
        act(name);
}

void fd_store_remove_pool(const char *pool) {
        fd_store_each(pool, fd_store_remove);
}

void fd_store_discard_pool(const char *pool) {
        fd_store_each(pool, fd_store_close);
        fd_store_each(pool, fd_store_remove);
}

int fd_store_passed(const char *name, int *fd) {
        char **names = NULL;
        int count = sd_listen_fds_with_names(0, &names), found = 0;
        if (count <= 0)
                return -ENOENT;
        for (int i = 0; i < count; i++) {
                if (strcmp(names[i], name) == 0 && found++ == 0)
                        *fd = SD_LISTEN_FDS_START + i;
        }
        names_free(names, count);
        return found == 1 ? 0 : found == 0 ? -ENOENT : -EEXIST;
}

int fd_store_passed_sockets(int *first) {
        char **names = NULL;
        int count = sd_listen_fds_with_names(0, &names), found = 0;
        if (count <= 0)
                return count;
        for (int i = 0; i < count; i++) {
                if (!name_is_of_store(names[i]) && found++ == 0)
                        *first = SD_LISTEN_FDS_START + i;
        }
        names_free(names, count);
        return found;
}
