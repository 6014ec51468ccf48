/* Opening and closing a store, whatever its backing. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "log.h"
#include "scrub.h"
#include "store_kind.h"

static const struct store_kind *store_kind(const struct store *store) {
        return store->settings.backing == BACKING_MEMFD ? &store_kind_memfd : &store_kind_shm;
}

struct ledger_layout store_ledger_layout(const struct store *store) {
        struct ledger_layout layout;
        ledger_layout(store->settings.max_size_bytes / store->settings.page_bytes, &layout);
        return layout;
}

int store_map_ledger(struct store *store, uint64_t bytes) {
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, store->ledger_fd, 0);
        if (memory == MAP_FAILED)
                return -errno;
        store->ledger_memory = memory;
        store->ledger_bytes = bytes;
        return 0;
}

void store_unmap_ledger(struct store *store) {
        if (store->ledger_memory)
                munmap(store->ledger_memory, store->ledger_bytes);
        store->ledger_memory = NULL;
}

static void close_fd(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

void store_close_segment(struct store *store) {
        close_fd(&store->segment_fd);
        close_fd(&store->segment_fd_read_only);
}

uint64_t store_resident_bytes(const struct store *store) {
        return reserve_resident_bytes(store->segment_fd);
}

/* ---- Memory ---- */

static uint64_t ledger_reserve_bytes(const struct store *store) {
        struct ledger_layout layout = store_ledger_layout(store);
        return store->settings.commit == COMMIT_EAGER ? layout.total_bytes : layout.fixed_bytes;
}

static uint64_t segment_reserve_bytes(const struct store *store) {
        return store->settings.commit == COMMIT_EAGER ? store->settings.size_bytes : 0;
}

/* What is there already is either used on or given back first. */
static int store_check_fit(const struct store *store) {
        uint64_t need = ledger_reserve_bytes(store) + segment_reserve_bytes(store);
        uint64_t there = reserve_resident_bytes(store->ledger_fd) +
                         reserve_resident_bytes(store->segment_fd);
        if (need <= there)
                return 0;
        int fd = store->settings.backing == BACKING_POSIX_SHM ? store->ledger_fd : -1;
        return reserve_fits(&store->settings, need - there, fd) ? 0 : -ENOSPC;
}

/* Nothing to do for a segment that a predecessor reserved to its end. */
static bool segment_is_reserved(const struct store *store) {
        return reserve_resident_bytes(store->segment_fd) >= store->settings.max_size_bytes;
}

/* A daemon that was killed while it let the pool grow may have left memory behind the pool's end. */
static void store_give_back_rest(const struct store *store) {
        uint64_t size = store->settings.size_bytes, max = store->settings.max_size_bytes;
        if (store->taken_over && max > size)
                reserve_give_back(store->segment_fd, size, max - size);
}

static int store_reserve(struct store *store) {
        store_give_back_rest(store);
        int error = reserve_range(store->ledger_fd, 0, ledger_reserve_bytes(store), NULL);
        if (!error && !segment_is_reserved(store))
                error = reserve_range(
                        store->segment_fd, 0, segment_reserve_bytes(store), store->settings.name);
        if (error && error != -ECANCELED)
                store_refuse(store, "reserve its memory", error);
        return error;
}

#define GROWTH_SLICE_BYTES (UINT64_C(64) << 20)

static int growth_reserve(
        const struct store *store, struct store_growth growth, const _Atomic bool *cancelled) {
        int error = 0;
        for (uint64_t at = growth.from_bytes; at < growth.to_bytes && !error;) {
                uint64_t left = growth.to_bytes - at;
                uint64_t slice = left < GROWTH_SLICE_BYTES ? left : GROWTH_SLICE_BYTES;
                error = atomic_load(cancelled) ? -ECANCELED
                                               : reserve_range(store->segment_fd, at, slice, NULL);
                at += slice;
        }
        if (error)
                reserve_give_back(
                        store->segment_fd, growth.from_bytes, growth.to_bytes - growth.from_bytes);
        return error;
}

int store_reserve_growth(struct store *store, struct store_growth growth,
        const _Atomic bool *cancelled, char fault[static RESERVE_FAULT_BYTES]) {
        uint64_t more = growth.to_bytes - growth.from_bytes;
        fault[0] = '\0';
        if (store->settings.commit == COMMIT_LAZY)
                return 0;
        int fd = store->settings.backing == BACKING_POSIX_SHM ? store->ledger_fd : -1;
        if (!reserve_fits_growth(&store->settings, more, fd, fault))
                return -ENOSPC;
        int error = growth_reserve(store, growth, cancelled);
        if (error)
                snprintf(fault, RESERVE_FAULT_BYTES,
                        "pool '%s': cannot reserve %s more: %s; nothing is changed",
                        store->settings.name, bytes_rounded(more).text, strerror(-error));
        return error;
}

/* Scrubbed here, before the record is written: a kill in between leaves a free block, which is scrubbed when it is
 * granted the next time. */
static int store_commit_segment(void *context, uint64_t offset_bytes, uint64_t length_bytes) {
        struct store *store = context;
        int error = 0;
        if (store->settings.commit == COMMIT_LAZY)
                error = reserve_map_commit(&store->reserved, offset_bytes, length_bytes);
        if (!error && store->settings.scrub)
                error = scrub_range(store->segment_fd, offset_bytes, length_bytes);
        return error;
}

static int store_commit_ledger(void *context, uint64_t offset_bytes, uint64_t length_bytes) {
        const struct store *store = context;
        int error = fallocate(
                store->ledger_fd, FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes, (off_t)length_bytes);
        return error < 0 ? -errno : 0;
}

/* ---- Starting the pool ---- */

/* Process start times in the ledger are those of this boot. */
static void boot_id_read(uint8_t id[static 16]) {
        char text[64] = "";
        FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
        if (file) {
                if (!fgets(text, sizeof(text), file))
                        text[0] = '\0';
                fclose(file);
        }
        unsigned digit = 0;
        memset(id, 0, 16);
        for (const char *at = text; *at && digit < 32; at++) {
                static const char digits[] = "0123456789abcdef";
                const char *found = strchr(digits, *at);
                if (!found)
                        continue;
                id[digit / 2] = (uint8_t)(id[digit / 2] << 4 | (uint8_t)(found - digits));
                digit++;
        }
}

static uint64_t boot_word(void) {
        uint8_t id[16];
        boot_id_read(id);
        return ledger_boot_word(id);
}

bool store_is_of_earlier_boot(const struct store *store) {
        static const uint8_t none[16];
        uint64_t unknown = ledger_boot_word(none);
        uint64_t then = ledger_load(&store->ledger.header->boot), now = boot_word();
        return then != now && then != unknown && now != unknown;
}

void store_stamp_boot(struct store *store) {
        if (ledger_load(&store->ledger.header->boot) != boot_word())
                ledger_store(&store->ledger.header->boot, boot_word());
}

static int store_format(struct store *store) {
        int error = store_map_ledger(store, store_ledger_layout(store).total_bytes);
        if (error)
                return store_refuse(store, "map its ledger", error);
        const struct pool_settings *settings = &store->settings;
        struct ledger_identity identity = {
                .pool = settings->name,
                .page_shift = log2_floor(settings->page_bytes),
                .pages = settings->size_bytes / settings->page_bytes,
                .pages_max = settings->max_size_bytes / settings->page_bytes,
        };
        boot_id_read(identity.boot_id);
        ledger_format(store->ledger_memory, &identity, &store->ledger);
        return 0;
}

/* Whatever is held was reserved when it was granted. What a client has taken away since, while no daemon ran, too, is put back. */
static void store_note_held(struct store *store) {
        const uint64_t page_bytes = store->settings.page_bytes, pages = pool_pages(store->pool);
        struct block block;
        uint32_t owner;
        for (uint64_t page = 0; ledger_next_live(&store->ledger, pages, &page, &block, &owner);) {
                uint64_t at = (uint64_t)block.page * page_bytes, end = page * page_bytes;
                for (; at < end; at += RESERVE_UNIT_BYTES)
                        reserve_map_note(&store->reserved, at);
                /* Of the others in the same unit nothing is to be learned. */
                end = (end + RESERVE_UNIT_BYTES - 1) / RESERVE_UNIT_BYTES * RESERVE_UNIT_BYTES;
                page = end / page_bytes;
        }
        store_mend_segment(store, pages);
}

static int store_start_pool(struct store *store) {
        struct pool_backing backing = {0};
        int error = 0;
        if (store->settings.commit == COMMIT_LAZY || store->settings.scrub)
                backing = (struct pool_backing){
                        .commit_segment = store_commit_segment, .context = store};
        if (store->settings.commit == COMMIT_LAZY) {
                backing.commit_ledger = store_commit_ledger;
                error = reserve_map_init(
                        &store->reserved, store->segment_fd, store->settings.max_size_bytes);
        }
        char fault[256] = "";
        if (!error)
                error = pool_new(&store->ledger, &backing, &store->pool, fault, sizeof(fault));
        if (error == -EUCLEAN) {
                log_pool_error(store->settings.name,
                        "pool '%s' is damaged: %s; throw its contents away with --reset",
                        store->settings.name, fault);
                return error;
        }
        if (error)
                return store_refuse(store, "start", error);
        store->restarts = ledger_load(&store->ledger.header->restarts);
        if (store->taken_over)
                ledger_store(&store->ledger.header->restarts, ++store->restarts);
        if (store->taken_over && store->settings.commit == COMMIT_LAZY)
                store_note_held(store);
        return 0;
}

/* ---- Opening and closing ---- */

static int store_prepare(struct store *store, bool reset) {
        int error = store_kind(store)->claim(store, reset);
        if (!error)
                error = store_check_fit(store);
        if (!error && !store->taken_over)
                error = store_kind(store)->create(store);
        if (!error)
                error = store_reserve(store);
        if (!error && !store->taken_over)
                error = store_format(store);
        return error ? error : store_start_pool(store);
}

static void store_free(struct store *store) {
        pool_free(store->pool);
        reserve_map_deinit(&store->reserved);
        store_unmap_ledger(store);
        store_close_segment(store);
        close_fd(&store->ledger_fd);
        close_fd(&store->lock_fd);
        free(store);
}

int store_open(const struct pool_settings *settings, bool reset, struct store **out) {
        struct store *store = calloc(1, sizeof(*store));
        if (!store) {
                log_pool_error(
                        settings->name, "pool '%s': out of memory; free some", settings->name);
                return -ENOMEM;
        }
        store->settings = *settings;
        store->segment_fd = store->segment_fd_read_only = store->ledger_fd = store->lock_fd = -1;
        int error = store_prepare(store, reset);
        if (error) {
                if (!store->taken_over)
                        store_kind(store)->remove(store, false);
                store_free(store);
                return error;
        }
        *out = store;
        return 0;
}

void store_close(struct store *store, bool keep) {
        if (!store)
                return;
        if (store->settings.backing == BACKING_MEMFD)
                keep = keep && store->stored;
        /* A kill between the two removals must not leave a pool that looks like a damaged one. */
        if (!keep)
                ledger_store(&store->ledger.header->ready, 0);
        store_kind(store)->remove(store, keep);
        store_free(store);
}
