/* Stores in memfds: without a name, sealed against every change of length, gone with their last
 * descriptor. A named empty object bears the lock. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
                log_error("pool '%s' was left in POSIX shared memory; take it over with --backing "
                          "posix-shm, or "
                          "throw its contents away with --reset",
                        store->settings.name);
                error = -EEXIST;
        }
        close(fd);
        return error == -ESTALE ? 0 : error;
}

static int store_memfd_claim(struct store *store, bool reset) {
        char name[SHM_NAME_BYTES];
        shm_object_name(store->settings.name, "lock", name);
        int error = shm_object_claim(name, &store->lock_fd);
        if (error == -EAGAIN)
                return store_refuse_busy(store, store->lock_fd);
        if (error)
                return store_refuse(store, "make its lock in /dev/shm", error);
        store->lock_made = true;
        if (store->settings.keep)
                log_warning("pool '%s' cannot be kept after a stop: a memfd ends with the daemon; "
                            "use posix-shm "
                            "to keep it",
                        store->settings.name);
        return shm_left_check(store, reset);
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
        return error ? store_refuse(store, "make its segment", error) : 0;
}

static void store_memfd_remove(struct store *store) {
        if (!store->lock_made || !lock_is_named(store->lock_fd))
                return;
        char name[SHM_NAME_BYTES];
        shm_object_name(store->settings.name, "lock", name);
        shm_unlink(name);
}

const struct store_kind store_kind_memfd = {
        store_memfd_claim, store_memfd_create, store_memfd_remove};
