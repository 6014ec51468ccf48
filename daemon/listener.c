/* See listener.h. Between two daemons that start at a time, an open-file-description lock on
 * PATH.lock decides. */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "fd_store.h"
#include "lock.h"
#include "log.h"

#define BACKLOG 4096

static int address_of(const char *path, struct sockaddr_un *out) {
        *out = (struct sockaddr_un){.sun_family = AF_UNIX};
        size_t length = strlen(path);
        if (length >= sizeof(out->sun_path)) {
                log_error("%s: the socket's path has %zu bytes and %zu is the limit; give a "
                          "shorter one",
                        path, length, sizeof(out->sun_path) - 1);
                return -ENAMETOOLONG;
        }
        memcpy(out->sun_path, path, length + 1);
        return 0;
}

static int refuse(const char *path, int error, const char *mend) {
        log_error("cannot listen on %s: %s; %s", path, strerror(-error), mend);
        return error;
}

static const char *mend_for(int error) {
        switch (error) {
        case -ENOENT:
        case -ENOTDIR:
                return "create the folder, or give another path";
        case -EACCES:
        case -EPERM:
                return "get write permission to the folder, or give another path";
        case -EADDRINUSE:
                return "remove the file, or give another path";
        case -EMFILE:
        case -ENFILE:
                return "raise the limit on open files (ulimit -n)";
        default:
                return "mend that, or give another path";
        }
}

/* ---- Inheriting ---- */

/* The inherited socket's own path, which need not be the one of the settings. */
static int listener_name(struct listener *listener) {
        struct sockaddr_un address = {0};
        socklen_t length = sizeof(address);
        if (getsockname(listener->fd, (struct sockaddr *)&address, &length) < 0)
                return -errno;
        char path[sizeof(address.sun_path) + 1] = "";
        memcpy(path, address.sun_path, sizeof(address.sun_path));
        if (path[0] == '\0')
                path[0] = '@'; /* as the abstract name space is written */
        char *copy = strdup(path);
        if (!copy)
                return refuse(path, -ENOMEM, "free some");
        free(listener->path);
        listener->path = copy;
        return 0;
}

/* 1: inherited; 0: nothing was passed. */
static int listener_inherit(struct listener *listener) {
        int fd = -1;
        int count = fd_store_passed_sockets(&fd);
        if (count < 0) {
                log_error("cannot take over the service manager's socket: %s; mend LISTEN_FDS",
                        strerror(-count));
                return count;
        }
        if (count == 0)
                return 0;
        if (count > 1) {
                log_error("the service manager passes %d sockets and buddyd serves on one; leave "
                          "one in buddyd.socket",
                        count);
                return -EINVAL;
        }
        if (sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) <= 0) {
                log_error("what the service manager passes is not a listening stream socket of the "
                          "Unix family; use "
                          "ListenStream=PATH and Accept=no in buddyd.socket");
                return -EINVAL;
        }
        listener->fd = fd;
        int error = listener_name(listener);
        return error ? error : 1;
}

/* ---- Keeping others out ---- */

/* Only of the default path, which nobody has named. */
static int folder_make(const struct settings *settings) {
        char folder[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
        snprintf(folder, sizeof(folder), "%s", settings->socket_path);
        char *slash = strrchr(folder, '/');
        if (!settings->socket_path_default || !slash)
                return 0;
        *slash = '\0';
        if (mkdir(folder, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
                return refuse(settings->socket_path, -errno, mend_for(-errno));
        return 0;
}

static int listener_lock(struct listener *listener) {
        for (;;) {
                int fd = open(listener->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
                if (fd < 0)
                        return refuse(listener->path, -errno, mend_for(-errno));
                int error = lock_take(fd);
                if (!error) {
                        listener->lock_fd = fd;
                        return 0;
                }
                char holder[LOCK_HOLDER_TEXT];
                if (error == -EAGAIN)
                        log_error("%s serves on %s; stop that one, or give another path",
                                lock_describe_holder(fd, holder), listener->path);
                else if (error != -ESTALE)
                        refuse(listener->path, error, mend_for(error));
                close(fd);
                if (error != -ESTALE)
                        return error == -EAGAIN ? -EADDRINUSE : error;
        }
}

/* 0: nobody listens there; -EADDRINUSE: somebody does; other -errno. */
static int probe(const struct sockaddr_un *address) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        int error =
                connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
        close(fd);
        if (error == -ECONNREFUSED || error == -ENOENT)
                return 0;
        if (error == 0 || error == -EAGAIN || error == -EPROTOTYPE)
                return -EADDRINUSE;
        return error;
}

static int path_check(const char *path) {
        struct stat stat;
        if (lstat(path, &stat) < 0)
                return errno == ENOENT ? 0 : refuse(path, -errno, mend_for(-errno));
        if (!S_ISSOCK(stat.st_mode)) {
                log_error("%s is there and is not a socket; remove it, or give another path", path);
                return -EEXIST;
        }
        struct sockaddr_un address;
        int error = address_of(path, &address);
        if (error)
                return error;
        error = probe(&address);
        if (error == -EADDRINUSE)
                log_error(
                        "another program serves on %s; stop that one, or give another path", path);
        else if (error)
                refuse(path, error, mend_for(error));
        return error;
}

static int listener_keep_out(struct listener *listener, const struct settings *settings) {
        struct sockaddr_un address;
        int error = address_of(settings->socket_path, &address);
        if (!error)
                error = folder_make(settings);
        if (!error && asprintf(&listener->lock_path, "%s.lock", settings->socket_path) < 0) {
                listener->lock_path = NULL;
                error = refuse(settings->socket_path, -ENOMEM, "free some");
        }
        if (!error)
                error = listener_lock(listener);
        return error ? error : path_check(listener->path);
}

int listener_claim(const struct settings *settings, struct listener *out) {
        struct listener listener = {.fd = -1, .lock_fd = -1, .path = strdup(settings->socket_path)};
        if (!listener.path)
                return refuse(settings->socket_path, -ENOMEM, "free some");
        int error = listener_inherit(&listener);
        if (error == 0)
                error = listener_keep_out(&listener, settings);
        if (error < 0) {
                listener_close(&listener);
                return error;
        }
        *out = listener;
        return 0;
}

/* ---- Listening ---- */

/* The file appears closed to everybody else; group and mode are set after, in this order. */
static int listener_bind(struct listener *listener, const struct settings *settings) {
        struct sockaddr_un address;
        int error = address_of(listener->path, &address);
        if (error)
                return error;
        mode_t mask = umask(0177);
        error = bind(listener->fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno
                                                                                           : 0;
        umask(mask);
        struct stat stat;
        if (!error && lstat(listener->path, &stat) < 0) {
                error = -errno;
                unlink(listener->path);
        }
        if (error)
                return refuse(listener->path, error, mend_for(error));
        listener->bound = true;
        listener->device = stat.st_dev;
        listener->inode = stat.st_ino;
        /* A sandbox may forbid what would change nothing. */
        if (settings->socket_group_set && stat.st_gid != settings->socket_group &&
                lchown(listener->path, (uid_t)-1, settings->socket_group) < 0) {
                log_error("cannot give %s to group %u: %s; join the group or start as root",
                        listener->path, (unsigned)settings->socket_group, strerror(errno));
                return -EPERM;
        }
        if (chmod(listener->path, settings->socket_mode) < 0)
                return refuse(listener->path, -errno, mend_for(-errno));
        return 0;
}

int listener_claim_metrics(const struct settings *settings, struct listener *out) {
        struct settings place = *settings;
        place.socket_path = settings->metrics_path;
        place.socket_path_default = false;
        struct listener listener = {
                .fd = -1, .lock_fd = -1, .path = strdup(settings->metrics_path)};
        if (!listener.path)
                return refuse(settings->metrics_path, -ENOMEM, "free some");
        int error = listener_keep_out(&listener, &place);
        if (error < 0) {
                listener_close(&listener);
                return error;
        }
        *out = listener;
        return 0;
}

int listener_open(struct listener *listener, const struct settings *settings) {
        if (listener->fd >= 0)
                return 0;
        int error = path_check(listener->path);
        if (error)
                return error;
        unlink(listener->path);
        listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (listener->fd < 0)
                return refuse(listener->path, -errno, mend_for(-errno));
        error = listener_bind(listener, settings);
        if (!error && listen(listener->fd, BACKLOG) < 0)
                error = refuse(listener->path, -errno, mend_for(-errno));
        return error;
}

static void socket_file_remove(const struct listener *listener) {
        struct stat stat;
        bool seen = lstat(listener->path, &stat) == 0;
        if (!seen || (stat.st_dev == listener->device && stat.st_ino == listener->inode))
                unlink(listener->path);
}

void listener_close(struct listener *listener) {
        if (listener->bound)
                socket_file_remove(listener);
        if (listener->fd >= 0)
                close(listener->fd);
        if (listener->lock_fd >= 0) {
                unlink(listener->lock_path);
                close(listener->lock_fd);
        }
        free(listener->path);
        free(listener->lock_path);
        *listener = (struct listener){.fd = -1, .lock_fd = -1};
}
