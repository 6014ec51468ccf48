/* See offline.h. */
#include "offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "complain.h"

#define OBJECT_FOLDER "/dev/shm"

struct object {
        char name[LEDGER_OBJECT_NAME_BYTES];
        int fd;         /* owned; -1: not open */
        uint64_t bytes; /* its length */
};

static void object_close(struct object *object) {
        if (object->fd >= 0)
                close(object->fd);
        object->fd = -1;
}

/* -ENOENT; -EPERM: not an object that a daemon of this user would use. */
static int object_open(uint32_t uid, const char *pool, const char *kind, struct object *out) {
        struct object object = {.fd = -1};
        ledger_object_name(uid, pool, kind, object.name);
        object.fd = shm_open(object.name, O_RDONLY, 0);
        if (object.fd < 0)
                return errno == EINVAL || errno == ENAMETOOLONG ? -ENOENT : -errno;
        struct stat stat;
        int error = fstat(object.fd, &stat) < 0 ? -errno : 0;
        if (!error && (!S_ISREG(stat.st_mode) || stat.st_uid != uid || (stat.st_mode & 077)))
                error = -EPERM;
        if (error) {
                object_close(&object);
                return error;
        }
        object.bytes = (uint64_t)stat.st_size;
        *out = object;
        return 0;
}

/* Whether a daemon has its lock on the object. Only looks: a lock of our own would keep a daemon from starting. */
static bool object_is_served(const struct object *object) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        return fcntl(object->fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* A daemon that serves a pool of this name from memfds has its lock on an object of its own. */
static bool memfd_is_served(uint32_t uid, const char *pool) {
        struct object lock = {.fd = -1};
        if (object_open(uid, pool, "lock", &lock) < 0)
                return false;
        bool served = object_is_served(&lock);
        object_close(&lock);
        return served;
}

static enum exit_status complain_served(const char *pool) {
        return complain(EXIT_REFUSED,
                "a daemon serves pool \"%s\"; use \"buddyctl check\" without --offline", pool);
}

static enum exit_status complain_unopened(
        uint32_t uid, const char *pool, const char *name, int error) {
        if (error == -EACCES || error == -EPERM)
                return complain(EXIT_REFUSED,
                        "%s%s is not uid %u's alone, or not this user's to read; run as its owner, "
                        "or as root with --uid",
                        OBJECT_FOLDER, name, uid);
        if (error != -ENOENT)
                return complain(EXIT_REFUSED,
                        "cannot open %s%s: %s; run as its owner, or mend that", OBJECT_FOLDER, name,
                        strerror(-error));
        if (memfd_is_served(uid, pool))
                return complain_served(pool);
        return complain(EXIT_REFUSED,
                "uid %u has no pool \"%s\" in %s; name another one with --pool, or its user with "
                "--uid",
                uid, pool, OBJECT_FOLDER);
}

static enum exit_status ledger_object_open(uint32_t uid, const char *pool, struct object *out) {
        struct object object = {.fd = -1};
        int error = object_open(uid, pool, "ledger", &object);
        if (error) {
                ledger_object_name(uid, pool, "ledger", object.name);
                return complain_unopened(uid, pool, object.name, error);
        }
        if (object_is_served(&object)) {
                object_close(&object);
                return complain_served(pool);
        }
        *out = object;
        return EXIT_DONE;
}

/* ---- The copy ---- */

static int extent_copy(int fd, char *to, off_t from, off_t end) {
        while (from < end) {
                ssize_t got = pread(fd, to + from, (size_t)(end - from), from);
                if (got < 0 && errno != EINTR)
                        return -errno;
                if (got == 0)
                        return -ESTALE; /* cut off meanwhile */
                from += got > 0 ? got : 0;
        }
        return 0;
}

/* Reading a hole through a mapping would fill it, so only what is there is read. */
static int extents_copy(int fd, char *to) {
        off_t at = 0;
        for (;;) {
                at = lseek(fd, at, SEEK_DATA);
                if (at < 0)
                        return errno == ENXIO ? 0 : -errno;
                off_t end = lseek(fd, at, SEEK_HOLE);
                int error = end < 0 ? -errno : extent_copy(fd, to, at, end);
                if (error)
                        return error;
                at = end;
        }
}

/* NULL, with the reason in *error. */
static void *object_copy(const struct object *object, int *error) {
        void *copy = mmap(NULL, object->bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        *error = copy == MAP_FAILED ? -errno : extents_copy(object->fd, copy);
        if (*error == 0)
                return copy;
        if (copy != MAP_FAILED)
                munmap(copy, object->bytes);
        return NULL;
}

/* ---- What is in it ---- */

#define FAULT(out, ...)                                                                            \
        (snprintf((out)->report.fault, sizeof((out)->report.fault), __VA_ARGS__), -EUCLEAN)

/* The header's figures; page sizes and counts are those of ledger_open. */
static void geometry_fill(const struct ledger *ledger, struct offline_result *out) {
        const struct ledger_header *header = ledger->header;
        out->page_bytes = UINT64_C(1) << header->page_shift;
        out->size_bytes = ledger_load(&header->pages) << header->page_shift;
        out->capacity_bytes = header->pages_max << header->page_shift;
        out->restarts = ledger_load(&header->restarts);
}

static int segment_check(uint32_t uid, const char *pool, struct offline_result *out) {
        struct object segment = {.fd = -1};
        int error = object_open(uid, pool, "segment", &segment);
        if (error) {
                ledger_object_name(uid, pool, "segment", segment.name);
                return FAULT(out, "segment: cannot open " OBJECT_FOLDER "%s: %s", segment.name,
                        strerror(-error));
        }
        object_close(&segment);
        if (segment.bytes == out->capacity_bytes)
                return 0;
        return FAULT(out, "segment: %llu bytes long, the ledger's figures need %llu",
                (unsigned long long)segment.bytes, (unsigned long long)out->capacity_bytes);
}

/* The take-over of the copy, then the walk over what it made. */
static int records_check(const struct ledger *ledger, struct offline_result *out) {
        struct pool *pool;
        int error = pool_new(ledger, NULL, &pool, out->report.fault, sizeof out->report.fault);
        if (error)
                return error;
        error = pool_check(pool, &out->report);
        pool_free(pool);
        return error;
}

static int copy_check(
        uint32_t uid, const char *pool, void *copy, uint64_t bytes, struct offline_result *out) {
        struct ledger ledger;
        int error = ledger_open(copy, bytes, &ledger, out->report.fault, sizeof out->report.fault);
        if (error)
                return error;
        geometry_fill(&ledger, out);
        if (strcmp(ledger.header->pool, pool) != 0)
                return FAULT(out, "header: pool name is \"%s\"", ledger.header->pool);
        error = records_check(&ledger, out);
        return error ? error : segment_check(uid, pool, out);
}

static int ledger_object_check(
        uint32_t uid, const char *pool, const struct object *object, struct offline_result *out) {
        int error;
        if (object->bytes == 0)
                return -ENODATA;
        if (object->bytes < sizeof(struct ledger_header))
                return FAULT(
                        out, "ledger: cut off after %llu bytes", (unsigned long long)object->bytes);
        void *copy = object_copy(object, &error);
        if (!copy)
                return error;
        error = copy_check(uid, pool, copy, object->bytes, out);
        munmap(copy, object->bytes);
        return error;
}

enum exit_status offline_check(uint32_t uid, const char *pool, struct offline_result *out) {
        struct object object = {.fd = -1};
        enum exit_status status = ledger_object_open(uid, pool, &object);
        if (status != EXIT_DONE)
                return status;
        struct offline_result result = {0};
        snprintf(result.pool, sizeof result.pool, "%s", pool);
        int error = ledger_object_check(uid, pool, &object, &result);
        bool served = object_is_served(&object);
        object_close(&object);
        if (served)
                return complain(EXIT_REFUSED,
                        "a daemon has begun to serve pool \"%s\" meanwhile; use \"buddyctl check\" "
                        "without --offline",
                        pool);
        if (error == -ENODATA)
                return complain(EXIT_REFUSED,
                        "pool \"%s\" was never finished being made; buddyd makes it anew when it "
                        "starts",
                        pool);
        if (error && error != -EUCLEAN)
                return complain(EXIT_REFUSED,
                        "cannot examine " OBJECT_FOLDER "%s: %s; mend that and try again",
                        object.name, strerror(-error));
        *out = result;
        return error ? EXIT_FAULT : EXIT_DONE;
}
