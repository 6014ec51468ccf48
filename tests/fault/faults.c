/* See faults.h. */
#include "faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

static struct faults own;
static struct faults *current = &own;

/* ---- State ---- */

SHOWN struct faults *faults_here(void) {
        return current;
}

SHOWN struct faults *faults_share(const char *path) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        void *memory = MAP_FAILED;
        if (fd >= 0 && ftruncate(fd, sizeof(struct faults)) == 0)
                memory = mmap(
                        NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd >= 0)
                close(fd);
        return memory == MAP_FAILED ? NULL : memory;
}

SHOWN void faults_arm(struct faults *faults, uint64_t at) {
        atomic_store(&faults->count, 0);
        atomic_store(&faults->fired, 0);
        atomic_store(&faults->at, at);
}

SHOWN const char *faults_disarm(struct faults *faults) {
        atomic_store(&faults->at, 0);
        return atomic_load(&faults->fired) ? faults->name : NULL;
}

/* Whether this call is the one. */
static bool strikes(const char *name) {
        struct faults *faults = current;
        uint64_t at = atomic_load(&faults->at);
        if (at == 0 || atomic_fetch_add(&faults->count, 1) + 1 != at)
                return false;
        snprintf(faults->name, sizeof(faults->name), "%s", name);
        atomic_store(&faults->fired, 1);
        return true;
}

static void *next(const char *name) {
        return dlsym(RTLD_NEXT, name);
}

/* Only what is allocated from here on is counted. */
static __attribute__((constructor)) void begin(void) {
        const char *path = getenv(FAULTS_STATE);
        struct faults *shared = path ? faults_share(path) : NULL;
        if (!shared)
                return;
        atomic_store(&shared->blocks, 0);
        atomic_store(&shared->mapped, 0);
        current = shared;
}

/* ---- Memory ---- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *block);

static void *counted(void *block) {
        if (block)
                atomic_fetch_add(&current->blocks, 1);
        return block;
}

static void *no_memory(void) {
        errno = ENOMEM;
        return NULL;
}

SHOWN void *malloc(size_t size) {
        return strikes("malloc") ? no_memory() : counted(__libc_malloc(size));
}

SHOWN void *calloc(size_t count, size_t size) {
        return strikes("calloc") ? no_memory() : counted(__libc_calloc(count, size));
}

SHOWN void free(void *block) {
        if (block)
                atomic_fetch_sub(&current->blocks, 1);
        __libc_free(block);
}

SHOWN void *realloc(void *block, size_t size) {
        if (strikes("realloc"))
                return no_memory();
        void *result = __libc_realloc(block, size);
        if (!block)
                return counted(result);
        if (size == 0)
                atomic_fetch_sub(&current->blocks, 1);
        return result;
}

SHOWN void *reallocarray(void *block, size_t count, size_t size) {
        size_t bytes;
        return __builtin_mul_overflow(count, size, &bytes) ? no_memory() : realloc(block, bytes);
}

SHOWN void *aligned_alloc(size_t alignment, size_t size) {
        return strikes("aligned_alloc") ? no_memory() : counted(__libc_memalign(alignment, size));
}

SHOWN int posix_memalign(void **out, size_t alignment, size_t size) {
        void *block = aligned_alloc(alignment, size);
        if (!block)
                return ENOMEM;
        *out = block;
        return 0;
}

SHOWN void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
        static void *(*real)(void *, size_t, int, int, int, off_t);
        if (strikes("mmap")) {
                errno = ENOMEM;
                return MAP_FAILED;
        }
        if (!real)
                real = (__typeof__(real))next("mmap");
        void *memory = real(address, length, protection, flags, fd, offset);
        if (memory != MAP_FAILED && !(flags & MAP_FIXED)) /* a fixed one takes another's place */
                atomic_fetch_add(&current->mapped, (int64_t)length);
        return memory;
}

SHOWN int munmap(void *address, size_t length) {
        static int (*real)(void *, size_t);
        if (!real)
                real = (__typeof__(real))next("munmap");
        int result = real(address, length);
        if (result == 0)
                atomic_fetch_sub(&current->mapped, (int64_t)length);
        return result;
}

SHOWN void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
        return mmap(address, length, protection, flags, fd, offset);
}

/* ---- What may be refused ---- */

#define REFUSED(result, name, parameters, arguments, error, failure)                               \
        SHOWN result name parameters {                                                             \
                static result(*real) parameters;                                                   \
                if (strikes(#name)) {                                                              \
                        errno = error;                                                             \
                        return failure;                                                            \
                }                                                                                  \
                if (!real)                                                                         \
                        real = (__typeof__(real))next(#name);                                      \
                return real arguments;                                                             \
        }

/* Those that return their error. */
#define REFUSED_BY_VALUE(name, parameters, arguments, error)                                       \
        REFUSED(int, name, parameters, arguments, 0, error)

REFUSED(int, socket, (int family, int type, int protocol), (family, type, protocol), EMFILE, -1)
REFUSED(int, socketpair, (int family, int type, int protocol, int fds[2]),
        (family, type, protocol, fds), EMFILE, -1)
REFUSED(int, accept4,
        (int fd, struct sockaddr *restrict address, socklen_t *restrict length, int flags),
        (fd, address, length, flags), EMFILE, -1)
REFUSED(int, memfd_create, (const char *name, unsigned flags), (name, flags), EMFILE, -1)
REFUSED(int, epoll_create1, (int flags), (flags), EMFILE, -1)
REFUSED(int, eventfd, (unsigned value, int flags), (value, flags), EMFILE, -1)
REFUSED(int, pipe, (int fds[2]), (fds), EMFILE, -1)
REFUSED(int, dup, (int fd), (fd), EMFILE, -1)
REFUSED(int, pidfd_open, (pid_t pid, unsigned flags), (pid, flags), EMFILE, -1)
REFUSED(int, inotify_init1, (int flags), (flags), EMFILE, -1)
REFUSED(int, inotify_add_watch, (int fd, const char *path, uint32_t events), (fd, path, events),
        ENOSPC, -1)
REFUSED(int, shm_open, (const char *name, int flags, mode_t mode), (name, flags, mode), EMFILE, -1)
REFUSED(FILE *, fopen, (const char *restrict path, const char *restrict mode), (path, mode), EMFILE,
        NULL)
REFUSED(DIR *, opendir, (const char *path), (path), EMFILE, NULL)
REFUSED(struct dirent *, readdir, (DIR * folder), (folder), EIO, NULL)

REFUSED(int, bind, (int fd, const struct sockaddr *address, socklen_t length),
        (fd, address, length), EACCES, -1)
REFUSED(int, listen, (int fd, int backlog), (fd, backlog), EADDRINUSE, -1)
REFUSED(int, connect, (int fd, const struct sockaddr *address, socklen_t length),
        (fd, address, length), EAGAIN, -1)
REFUSED(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t length),
        (fd, level, name, value, length), ENOMEM, -1)
REFUSED(int, getsockopt,
        (int fd, int level, int name, void *restrict value, socklen_t *restrict length),
        (fd, level, name, value, length), ENOBUFS, -1)
REFUSED(int, getsockname, (int fd, struct sockaddr *restrict address, socklen_t *restrict length),
        (fd, address, length), ENOBUFS, -1)
REFUSED(ssize_t, send, (int fd, const void *bytes, size_t length, int flags),
        (fd, bytes, length, flags), ENOBUFS, -1)
REFUSED(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags),
        ENOBUFS, -1)
REFUSED(ssize_t, recv, (int fd, void *bytes, size_t length, int flags), (fd, bytes, length, flags),
        ENOMEM, -1)
REFUSED(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags), (fd, message, flags), ENOMEM,
        -1)
REFUSED(int, poll, (struct pollfd * fds, nfds_t count, int timeout_ms), (fds, count, timeout_ms),
        ENOMEM, -1)
REFUSED(ssize_t, pread, (int fd, void *bytes, size_t length, off_t at), (fd, bytes, length, at),
        EIO, -1)
REFUSED(ssize_t, readlinkat, (int folder, const char *path, char *text, size_t size),
        (folder, path, text, size), EIO, -1)
REFUSED(ssize_t, getrandom, (void *bytes, size_t length, unsigned flags), (bytes, length, flags),
        EAGAIN, -1)

REFUSED(int, ftruncate, (int fd, off_t length), (fd, length), ENOSPC, -1)
REFUSED(int, fallocate, (int fd, int mode, off_t at, off_t length), (fd, mode, at, length), ENOSPC,
        -1)
REFUSED(int, fstat, (int fd, struct stat *out), (fd, out), EIO, -1)
REFUSED(int, lstat, (const char *restrict path, struct stat *restrict out), (path, out), EIO, -1)
REFUSED(int, fstatat, (int folder, const char *restrict path, struct stat *restrict out, int flags),
        (folder, path, out, flags), EIO, -1)
REFUSED(int, fstatfs, (int fd, struct statfs *out), (fd, out), EIO, -1)
REFUSED(int, fstatvfs, (int fd, struct statvfs *out), (fd, out), EIO, -1)
REFUSED(int, fchmod, (int fd, mode_t mode), (fd, mode), EPERM, -1)
REFUSED(int, chmod, (const char *path, mode_t mode), (path, mode), EPERM, -1)
REFUSED(int, lchown, (const char *path, uid_t user, gid_t group), (path, user, group), EPERM, -1)
REFUSED(int, mkdir, (const char *path, mode_t mode), (path, mode), ENOSPC, -1)
REFUSED(int, madvise, (void *address, size_t length, int advice), (address, length, advice), ENOMEM,
        -1)
REFUSED_BY_VALUE(pthread_mutex_init,
        (pthread_mutex_t * lock, const pthread_mutexattr_t *attributes), (lock, attributes), ENOMEM)
REFUSED_BY_VALUE(pthread_cond_init,
        (pthread_cond_t *restrict condition, const pthread_condattr_t *restrict attributes),
        (condition, attributes), ENOMEM)
REFUSED_BY_VALUE(pthread_create,
        (pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                void *(*routine)(void *), void *restrict argument),
        (thread, attributes, routine, argument), EAGAIN)

/* Pipes and eventfds, which the kernel does not refuse, and libuv would abort. */
static bool is_plumbing(int fd) {
        static int (*real)(int, struct stat *);
        struct stat stat;
        if (!real)
                real = (__typeof__(real))next("fstat");
        return real(fd, &stat) == 0 && (S_ISFIFO(stat.st_mode) || (stat.st_mode & S_IFMT) == 0);
}

SHOWN ssize_t write(int fd, const void *bytes, size_t length) {
        static ssize_t (*real)(int, const void *, size_t);
        if (!is_plumbing(fd) && strikes("write")) {
                errno = EIO;
                return -1;
        }
        if (!real)
                real = (__typeof__(real))next("write");
        return real(fd, bytes, length);
}

SHOWN ssize_t read(int fd, void *bytes, size_t length) {
        static ssize_t (*real)(int, void *, size_t);
        if (!is_plumbing(fd) && strikes("read")) {
                errno = EIO;
                return -1;
        }
        if (!real)
                real = (__typeof__(real))next("read");
        return real(fd, bytes, length);
}

/* libuv ends the process if it may not watch one of the few descriptors of its own. */
static bool is_libuv(const void *caller) {
        Dl_info library;
        return dladdr(caller, &library) != 0 && strstr(library.dli_fname, "libuv");
}

SHOWN int epoll_ctl(int fd, int operation, int member, struct epoll_event *event) {
        static int (*real)(int, int, int, struct epoll_event *);
        if (operation != EPOLL_CTL_DEL && !is_libuv(__builtin_return_address(0)) &&
                strikes("epoll_ctl")) {
                errno = ENOSPC;
                return -1;
        }
        if (!real)
                real = (__typeof__(real))next("epoll_ctl");
        return real(fd, operation, member, event);
}

/* ---- Those with an argument more or less ---- */

#define MODE_ARGUMENT(flags)                                                                       \
        mode_t mode = 0;                                                                           \
        if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                   \
                va_list arguments;                                                                 \
                va_start(arguments, flags);                                                        \
                mode = va_arg(arguments, mode_t);                                                  \
                va_end(arguments);                                                                 \
        }

static int open_at(int folder, const char *path, int flags, mode_t mode) {
        static int (*real)(int, const char *, int, ...);
        if (strikes("open")) {
                errno = EMFILE;
                return -1;
        }
        if (!real)
                real = (__typeof__(real))next("openat");
        return real(folder, path, flags, mode);
}

SHOWN int open(const char *path, int flags, ...) {
        MODE_ARGUMENT(flags)
        return open_at(AT_FDCWD, path, flags, mode);
}

SHOWN int open64(const char *path, int flags, ...) {
        MODE_ARGUMENT(flags)
        return open_at(AT_FDCWD, path, flags, mode);
}

SHOWN int openat(int folder, const char *path, int flags, ...) {
        MODE_ARGUMENT(flags)
        return open_at(folder, path, flags, mode);
}

SHOWN int openat64(int folder, const char *path, int flags, ...) {
        MODE_ARGUMENT(flags)
        return open_at(folder, path, flags, mode);
}

static int control(int fd, int command, long argument) {
        static int (*real)(int, int, ...);
        if (strikes("fcntl")) {
                errno = command == F_OFD_SETLK ? ENOLCK : EINVAL;
                return -1;
        }
        if (!real)
                real = (__typeof__(real))next("fcntl");
        return real(fd, command, argument);
}

SHOWN int fcntl(int fd, int command, ...) {
        va_list arguments;
        va_start(arguments, command);
        long argument = va_arg(arguments, long);
        va_end(arguments);
        return control(fd, command, argument);
}

SHOWN int fcntl64(int fd, int command, ...) {
        va_list arguments;
        va_start(arguments, command);
        long argument = va_arg(arguments, long);
        va_end(arguments);
        return control(fd, command, argument);
}
