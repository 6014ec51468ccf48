/* Stores in named POSIX shared memory. The ledger's object bears the lock; it is made before the segment
 * and removed after it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fd_store.h"
#include "lock.h"
#include "log.h"
#include "shm_object.h"
#include "store_kind.h"

static void segment_name(const struct store *store, char name[static SHM_NAME_BYTES]) {
        shm_object_name(store->settings.name, "segment", name);
}

static void ledger_name(const struct store *store, char name[static SHM_NAME_BYTES]) {
        shm_object_name(store->settings.name, "ledger", name);
}

/* ---- Keeping others out ---- */

/* A daemon that serves this pool from memfds has its lock on an object of its own. */
static int memfd_lock_check(const struct store *store) {
        char name[SHM_NAME_BYTES];
        shm_object_name(store->settings.name, "lock", name);
        int fd;
        if (shm_object_open(name, O_RDWR, &fd) < 0)
                return 0;
        int error = lock_take(fd);
        if (error == -EAGAIN)
                error = store_refuse_busy(store, fd);
        else if (!error)
                shm_unlink(name);
        close(fd);
        return error == -EBUSY ? error : 0;
}

/* What an earlier daemon left in memfds would be hidden behind this pool. */
static int memfd_left_check(const struct store *store, bool reset) {
        char name[FD_STORE_NAME_BYTES];
        fd_store_name(store->settings.name, "ledger", name);
        int fd;
        if (fd_store_passed(name, &fd) == -ENOENT)
                return 0;
        if (reset) {
                fd_store_discard_pool(store->settings.name);
                return 0;
        }
        log_pool_error(store->settings.name,
                "pool '%s' was left in memfds that the service manager keeps; take it over with "
                "--backing memfd, or throw its contents away with --reset",
                store->settings.name);
        return -EEXIST;
}

static int ledger_claim(struct store *store) {
        char name[SHM_NAME_BYTES];
        ledger_name(store, name);
        int error = shm_object_claim(name, &store->ledger_fd, &store->lock_made);
        if (error == -EAGAIN) {
                error = store_refuse_busy(store, store->ledger_fd);
                close(store->ledger_fd);
                store->ledger_fd = -1;
                return error;
        }
        if (error) {
                char step[SHM_NAME_BYTES + 32];
                snprintf(step, sizeof(step), "open /dev/shm%s", name);
                return store_refuse(store, step, error);
        }
        uint64_t length = 0;
        error = store_object_length(store, store->ledger_fd, &length);
        if (error)
                return error;
        store->lock_made |= length == 0;
        return memfd_lock_check(store);
}

/* ---- What a predecessor left ---- */

static int segment_open_existing(struct store *store) {
        char name[SHM_NAME_BYTES];
        segment_name(store, name);
        int error = shm_object_open(name, O_RDWR, &store->segment_fd);
        if (!error)
                error = shm_object_open(name, O_RDONLY, &store->segment_fd_read_only);
        return error;
}

static int segment_check(struct store *store) {
        char name[SHM_NAME_BYTES];
        segment_name(store, name);
        int error = segment_open_existing(store);
        if (error == -ENOENT) {
                log_pool_error(store->settings.name,
                        "pool '%s' has a ledger but no segment, /dev/shm%s; throw the ledger "
                        "away with --reset",
                        store->settings.name, name);
                return -EUCLEAN;
        }
        if (error)
                return store_refuse(store, "open its segment", error);
        error = store_mend_length(store);
        return error ? store_refuse(store, "put back the length of its segment", error) : 0;
}

static int ledger_take_over(struct store *store) {
        bool finished;
        int error = store_examine_ledger(store, &finished);
        if (error || !finished)
                return error;
        error = segment_check(store);
        store->taken_over = !error;
        return error;
}

/* Contents that may be worth something to somebody, and nothing says how they are laid out. A daemon that
 * is killed while it makes a pool leaves no such thing: its ledger has a length before there is a segment. */
static int orphan_check(const struct store *store) {
        char name[SHM_NAME_BYTES];
        segment_name(store, name);
        int fd;
        int error = shm_object_open(name, O_RDONLY, &fd);
        if (error == -ENOENT)
                return 0;
        if (error && error != -EPERM)
                return store_refuse(store, "look for its segment", error);
        if (!error)
                close(fd);
        log_pool_error(store->settings.name,
                "pool '%s' has a segment, /dev/shm%s, but no ledger; throw the segment away with "
                "--reset",
                store->settings.name, name);
        return -EUCLEAN;
}

static int store_shm_claim(struct store *store, bool reset) {
        int error = ledger_claim(store);
        if (!error)
                error = memfd_left_check(store, reset);
        if (error)
                return error;
        uint64_t length = 0;
        error = store_object_length(store, store->ledger_fd, &length);
        if (error)
                return error;
        if (!reset)
                error = length > 0 ? ledger_take_over(store) : orphan_check(store);
        if (!error && !store->taken_over)
                segment_open_existing(store); /* what it occupies counts as free */
        return error;
}

/* ---- New objects ---- */

static int store_shm_create(struct store *store) {
        char name[SHM_NAME_BYTES];
        segment_name(store, name);
        store->made = true;
        shm_unlink(name);
        store_close_segment(store);
        /* Emptied and not removed, so that the lock stays where the name leads. */
        int error = 0;
        if (ftruncate(store->ledger_fd, 0) < 0 ||
                ftruncate(store->ledger_fd, (off_t)store_ledger_layout(store).total_bytes) < 0)
                error = -errno;
        if (error)
                return store_refuse(store, "make its ledger", error);
        error = shm_object_create(name, &store->segment_fd);
        if (!error && ftruncate(store->segment_fd, (off_t)store->settings.max_size_bytes) < 0)
                error = -errno;
        if (!error)
                error = shm_object_open(name, O_RDONLY, &store->segment_fd_read_only);
        return error ? store_refuse(store, "make its segment", error) : 0;
}

static void store_shm_remove(struct store *store, bool keep) {
        bool all = store->made || store->taken_over;
        if (keep || !lock_is_named(store->ledger_fd))
                return;
        char name[SHM_NAME_BYTES];
        segment_name(store, name);
        if (all)
                shm_unlink(name);
        ledger_name(store, name);
        if (all || store->lock_made)
                shm_unlink(name);
}

const struct store_kind store_kind_shm = {store_shm_claim, store_shm_create, store_shm_remove};
