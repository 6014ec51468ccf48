/* Stores in memfds: without a name, sealed against every change of length, gone with their last descriptor. The
 * service manager's store is what outlives the daemon. A named empty object bears the lock.
 *
 * The ledger is given to the service manager before the segment and taken back after it; what is not formatted yet,
 * or not any more, is a ledger that says so, so a kill in between leaves nothing that looks like a damaged pool. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd_store.h"
#include "lock.h"
#include "log.h"
#include "shm_object.h"
#include "store_kind.h"

/* A pool of this name in POSIX shared memory would be hidden behind this one. */
static int shm_left_check(const struct store *store, bool reset) {
        char segment[SHM_NAME_BYTES], ledger[SHM_NAME_BYTES];
        shm_object_name(store->settings.name, "segment", segment);
        shm_object_name(store->settings.name, "ledger", ledger);
        int fd;
        int error = shm_object_open(ledger, O_RDWR, &fd);
        if (error == -ENOENT)
                return 0;
        if (error)
                return store_refuse(store, "open what an earlier daemon left in /dev/shm", error);
        error = lock_take(fd);
        struct stat stat;
        if (error == -EAGAIN) {
                error = store_refuse_busy(store, fd);
        } else if (!error && fstat(fd, &stat) == 0 && stat.st_size == 0) {
                shm_unlink(
                        ledger); /* just made, by a daemon that is now told that this one was first */
        } else if (!error && reset) {
                shm_unlink(segment);
                shm_unlink(ledger);
        } else if (!error) {
                log_pool_error(store->settings.name,
                        "pool '%s' was left in POSIX shared memory; take it over with --backing "
                        "posix-shm, or "
                        "throw its contents away with --reset",
                        store->settings.name);
                error = -EEXIST;
        }
        close(fd);
        return error == -ESTALE ? 0 : error;
}

/* ---- What a predecessor left ---- */

/* *fd stays as it is if there is none. */
static int memfd_passed(const struct store *store, const char *kind, int *fd) {
        char name[FD_STORE_NAME_BYTES];
        fd_store_name(store->settings.name, kind, name);
        int error = fd_store_passed(name, fd);
        if (error == -EEXIST)
                log_pool_error(store->settings.name,
                        "pool '%s': the service manager passes %s more than once; throw its "
                        "contents away with --reset",
                        store->settings.name, name);
        return error == -ENOENT ? 0 : error;
}

static int memfd_check(const struct store *store, const char *kind, int fd) {
        if (memfd_object_is_ours(fd))
                return 0;
        log_pool_error(store->settings.name,
                "pool '%s': the %s that the service manager passes is no sealed memfd of this "
                "user's; throw it away with --reset",
                store->settings.name, kind);
        return -EPERM;
}

static int memfd_segment_check(struct store *store) {
        int error = memfd_check(store, "segment", store->segment_fd);
        if (!error)
                error = store_check_segment(store);
        if (error)
                return error;
        error = memfd_object_open_read_only(store->segment_fd, &store->segment_fd_read_only);
        return error ? store_refuse(store, "open its segment", error) : 0;
}

static int memfd_lone(const struct store *store, const char *there, const char *missing) {
        log_pool_error(store->settings.name,
                "pool '%s' has a %s but no %s among what the service manager passes; throw it "
                "away with --reset",
                store->settings.name, there, missing);
        return -EUCLEAN;
}

static int memfd_examine(struct store *store) {
        if (store->ledger_fd < 0)
                return store->segment_fd < 0 ? 0 : memfd_lone(store, "segment", "ledger");
        bool finished = false;
        int error = memfd_check(store, "ledger", store->ledger_fd);
        if (!error)
                error = store_examine_ledger(store, &finished);
        if (!error && finished)
                error = store->segment_fd < 0 ? memfd_lone(store, "ledger", "segment")
                                              : memfd_segment_check(store);
        store->taken_over = store->stored = !error && finished;
        return error;
}

static int memfd_take_over(struct store *store, bool reset) {
        int error = reset ? 0 : memfd_passed(store, "ledger", &store->ledger_fd);
        if (!error && !reset)
                error = memfd_passed(store, "segment", &store->segment_fd);
        if (!error)
                error = memfd_examine(store);
        if (!error && (reset || (store->ledger_fd >= 0 && !store->taken_over))) {
                fd_store_discard_pool(store->settings.name);
                store->ledger_fd = store->segment_fd = -1;
        }
        return error;
}

static int store_memfd_claim(struct store *store, bool reset) {
        char name[SHM_NAME_BYTES];
        shm_object_name(store->settings.name, "lock", name);
        int error = shm_object_claim(name, &store->lock_fd, &store->lock_made);
        if (error == -EAGAIN)
                return store_refuse_busy(store, store->lock_fd);
        if (error)
                return store_refuse(store, "make its lock in /dev/shm", error);
        store->lock_made = true;
        if (store->settings.keep && !fd_store_exists())
                log_event(LOG_EVENT_POOL_NOT_KEPT,
                        &(struct log_subject){.pool = store->settings.name},
                        "pool '%s' cannot be kept after a stop: a memfd ends with the daemon "
                        "where no service manager keeps it; use posix-shm to keep it",
                        store->settings.name);
        error = shm_left_check(store, reset);
        return error ? error : memfd_take_over(store, reset);
}

/* ---- New objects ---- */

static int memfd_store(const struct store *store, const char *kind, int fd) {
        char name[FD_STORE_NAME_BYTES];
        fd_store_name(store->settings.name, kind, name);
        int error = fd_store_exists() ? fd_store_put(name, fd) : -ENOTCONN;
        if (error && error != -ENOTCONN)
                log_event(LOG_EVENT_POOL_NOT_KEPT,
                        &(struct log_subject){.pool = store->settings.name},
                        "pool '%s': the service manager does not take its %s (%s): it ends "
                        "with the daemon",
                        store->settings.name, kind, strerror(-error));
        return error;
}

static int store_memfd_create(struct store *store) {
        int error = memfd_object_create(
                "buddyd.ledger", store_ledger_layout(store).total_bytes, &store->ledger_fd);
        if (error)
                return store_refuse(store, "make its ledger", error);
        error = memfd_object_create(
                "buddyd.segment", store->settings.max_size_bytes, &store->segment_fd);
        if (!error)
                error = memfd_object_open_read_only(
                        store->segment_fd, &store->segment_fd_read_only);
        if (error)
                return store_refuse(store, "make its segment", error);
        store->stored = memfd_store(store, "ledger", store->ledger_fd) == 0 &&
                        memfd_store(store, "segment", store->segment_fd) == 0;
        return 0;
}

static void store_memfd_remove(struct store *store, bool keep) {
        if (store->stored && !keep)
                fd_store_remove_pool(store->settings.name);
        if (!store->lock_made || !lock_is_named(store->lock_fd))
                return;
        char name[SHM_NAME_BYTES];
        shm_object_name(store->settings.name, "lock", name);
        shm_unlink(name);
}

const struct store_kind store_kind_memfd = {
        store_memfd_claim, store_memfd_create, store_memfd_remove};
