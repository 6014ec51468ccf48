/* See cache.h. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cache_fetch.h"
#include "core/ledger_word.h"
#include "proto/cache_area.h"
#include "served_pool.h"

/* ---- The pulse ---- */

static int pulse_lock(struct cache_pulse *page) {
        pthread_mutexattr_t attributes;
        pthread_mutex_t *mutex = (pthread_mutex_t *)(void *)page; /* its first word is the futex */
        _Static_assert(sizeof(pthread_mutex_t) <= 64, "the pressure lies behind it");
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        int error = pthread_mutex_init(mutex, &attributes);
        pthread_mutexattr_destroy(&attributes);
        if (!error)
                error = pthread_mutex_lock(mutex);
        return -error;
}

int pulse_init(struct pulse *pulse) {
        const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
        pulse->page = MAP_FAILED;
        pulse->fd = memfd_create("buddyd.pulse", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (pulse->fd < 0)
                return -errno;
        if (fchmod(pulse->fd, 0600) == 0 && ftruncate(pulse->fd, sizeof(*pulse->page)) == 0)
                pulse->page = mmap(NULL, sizeof(*pulse->page), PROT_READ | PROT_WRITE, MAP_SHARED,
                        pulse->fd, 0);
        int error = -errno;
        if (pulse->page != MAP_FAILED && fcntl(pulse->fd, F_ADD_SEALS, seals) == 0)
                error = pulse_lock(pulse->page);
        else if (pulse->page != MAP_FAILED)
                error = -errno;
        if (error < 0 || pulse->page == MAP_FAILED) {
                close(pulse->fd);
                if (pulse->page != MAP_FAILED)
                        munmap(pulse->page, sizeof(*pulse->page));
        }
        return error;
}

void pulse_deinit(struct pulse *pulse) {
        pthread_mutex_unlock((pthread_mutex_t *)(void *)pulse->page);
        munmap(pulse->page, sizeof(*pulse->page));
        close(pulse->fd);
}

void pulse_press(struct pulse *pulse, int more) {
        atomic_fetch_add(&pulse->page->pressure, (uint32_t)more);
}

/* ---- An area ---- */

static uint64_t area_bytes(const struct served_pool *served) {
        return cache_area_bytes(pool_pages_max(served->pool));
}

/* The block that a slot's value stands for. */
static struct block slot_block(uint64_t value, unsigned order) {
        return (struct block){.page = (uint32_t)(value >> 32),
                .order = order,
                .generation = (uint32_t)value & CACHE_GENERATION_MAX};
}

static bool block_is_possible(const struct served_pool *served, struct block block) {
        return (block.page & (order_pages(block.order) - 1)) == 0 &&
               block.page + order_pages(block.order) <= pool_pages(served->pool);
}

static bool block_is_sessions(
        const struct served_pool *served, uint32_t session, struct block block) {
        uint32_t use;
        return block_is_possible(served, block) && pool_owner(served->pool, block, &use) == session;
}

/* The client's word goes with the range: it is not counted any more. */
static void word_forget(struct cache_area *area, struct block block) {
        _Atomic uint64_t *word = cache_word(area, block.page);
        uint64_t seen = atomic_load(word);
        if (cache_word_is_of(seen, block.generation, block.order) && (seen & CACHE_COUNTED) &&
                atomic_compare_exchange_strong(word, &seen, 0) && cache_word_counts(seen))
                atomic_fetch_sub(&area->counted, 1);
}

/* Frees what a slot that nobody else touches any more has, and empties it. A range that is not the session's by the ledger is
 * not free by this; what its word counts is over all the same. Needs the cache lock. Bytes that became free. */
static uint64_t slot_empty(
        struct served_pool *served, uint32_t session, unsigned order, unsigned slot) {
        struct cache_area *area = served->presence[session].cache;
        _Atomic uint64_t *at = &area->slots[order][slot];
        struct block block = slot_block(atomic_load(at), order);
        bool freed = false;
        if (block_is_possible(served, block)) {
                pool_take_back(served->pool, session, block, &freed);
                word_forget(area, block);
        }
        atomic_store(at, 0);
        return freed ? served->page_bytes << order : 0;
}

/* Needs the cache lock. Bytes that became free. */
static uint64_t slot_take_back(
        struct served_pool *served, uint32_t session, unsigned order, unsigned slot) {
        struct cache_area *area = served->presence[session].cache;
        _Atomic uint64_t *at = &area->slots[order][slot];
        uint64_t value = atomic_load(at); /* behind the raising of the pressure, if that is why */
        if (value == 0 || (value & CACHE_TAKEN_BACK) ||
                !atomic_compare_exchange_strong(at, &value, value | CACHE_TAKEN_BACK))
                return 0;
        return slot_empty(served, session, order, slot);
}

static unsigned slots_used(const struct cache_area *area, unsigned order) {
        uint32_t used = atomic_load(&area->used[order]); /* behind the raising of the pressure */
        return used < CACHE_SLOTS ? used : CACHE_SLOTS;
}

/* Slots are used in the order of cache_slot_index. */
static uint64_t order_take_back(
        struct served_pool *served, uint32_t session, unsigned order, unsigned keep) {
        unsigned used = slots_used(served->presence[session].cache, order);
        uint64_t bytes = 0;
        for (unsigned i = keep; i < used; i++)
                bytes += slot_take_back(served, session, order, cache_slot_index(i));
        return bytes;
}

/* ---- Adopting and closing ---- */

static int area_check(int fd, uint64_t bytes, const char **why) {
        const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
        struct stat status;
        struct statfs where;
        int seals = fcntl(fd, F_GET_SEALS);
        *why = NULL;
        if (fd < 0)
                *why = "no descriptor came with it";
        else if (seals < 0 || (seals & needed) != needed)
                *why = "it is no memfd that is sealed against shrinking, growing and sealing";
        else if (fstat(fd, &status) != 0 || (uint64_t)status.st_size != bytes)
                *why = "its size does not fit the pool";
        else if (fstatfs(fd, &where) != 0 || where.f_type != TMPFS_MAGIC)
                *why = "it is of huge pages";
        return *why ? -EINVAL : 0;
}

struct adoption {
        struct served_pool *served;
        struct cache_area *area;
};

/* What became the client's while its memory was away may be there by a name of before. What it counts is its own all the while. */
static void end_outdated(void *context, struct block block, uint32_t use) {
        const struct adoption *adoption = context;
        _Atomic uint64_t *word = cache_word(adoption->area, block.page);
        uint64_t seen = atomic_load(word);
        while (cache_word_is_of(seen, block.generation, block.order) && !(seen & CACHE_COUNTED) &&
                use_fold((uint32_t)(cache_word_name(seen) >> CACHE_USE_SHIFT)) != use &&
                !atomic_compare_exchange_weak(word, &seen, 0))
                continue;
}

/* Others hold it, too: it goes back by a request, and its name is known from here on. */
static void mark_shared(void *context, struct block block, uint32_t known) {
        const struct adoption *adoption = context;
        _Atomic uint64_t *word = cache_word(adoption->area, block.page);
        uint64_t seen = atomic_load(word);
        (void)known; /* what its owner's memory says is later */
        do
                if (!cache_word_is_of(seen, block.generation, block.order))
                        return;
        while (!atomic_compare_exchange_weak(word, &seen, seen | CACHE_SHARED));
        pool_name_block(adoption->served->pool, block,
                (uint32_t)(cache_word_name(seen) >> CACHE_USE_SHIFT));
}

/* A kill may have left a slot half taken back, and while the area was away its range may have got other holders: then it
 * is not to be taken out again as if it were the client's alone. */
static void slot_audit(
        struct served_pool *served, uint32_t session, unsigned order, unsigned slot) {
        struct cache_area *area = served->presence[session].cache;
        _Atomic uint64_t *at = &area->slots[order][slot];
        uint64_t value = atomic_load(at);
        struct block block = slot_block(value, order);
        if (value == 0)
                return;
        uint64_t word =
                block_is_possible(served, block) ? atomic_load(cache_word(area, block.page)) : 0;
        bool keep = block_is_sessions(served, session, block) &&
                    cache_word_is_of(word, block.generation, order) && !(word & CACHE_SHARED);
        if (keep) {
                atomic_compare_exchange_strong(at, &value, value & ~CACHE_TAKEN_BACK);
                return;
        }
        /* Not for a moment may it look like one that can be taken out: it may be somebody else's. */
        if (atomic_compare_exchange_strong(at, &value, value | CACHE_TAKEN_BACK))
                slot_empty(served, session, order, slot);
}

static void area_audit(struct served_pool *served, uint32_t session) {
        struct presence *presence = &served->presence[session];
        struct adoption adoption = {served, presence->cache};
        if (presence->held_unseen)
                pool_each_held(served->pool, session, end_outdated, &adoption);
        presence->held_unseen = false;
        if (!presence->cache_named || atomic_exchange(&presence->shared_unseen, false))
                pool_each_shared(served->pool, session, mark_shared, &adoption);
        presence->cache_named = true;
        for (unsigned order = 0; order < CACHE_ORDERS; order++)
                for (unsigned slot = 0; slot < CACHE_SLOTS; slot++)
                        slot_audit(served, session, order, slot);
}

/* Whose area it is may be over by now, and its number somebody else's. Needs the cache lock, under which an end closes the cache
 * behind the session. token: of the one that is meant; NULL: of whoever has the number. */
static bool session_is_there(struct served_pool *served, uint32_t session, const uint8_t *token) {
        struct pool_session_info info;
        return pool_session_info(served->pool, session, &info) == 0 &&
               info.state != SESSION_CLOSING &&
               (!token || memcmp(info.identity.token, token, sizeof(info.identity.token)) == 0);
}

static int area_map(
        const struct served_pool *served, int fd, struct cache_area **area, const char **why) {
        uint64_t bytes = area_bytes(served);
        int error = area_check(fd, bytes, why);
        if (!error && bytes > CACHE_AREA_MAX) {
                *why = "the pool is too large for caches";
                error = -EINVAL;
        }
        if (error)
                return error;
        void *mapping =
                mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (mapping == MAP_FAILED) {
                *why = "it cannot be mapped";
                return errno == ENOMEM ? -ENOMEM : -EINVAL;
        }
        *area = mapping;
        return 0;
}

static int area_adopt(struct served_pool *served, uint32_t session, struct cache_area *area,
        const uint8_t *token, const char **why) {
        struct presence *presence = &served->presence[session];
        struct cache_area *leaves = area;
        spinlock_lock(&presence->cache_lock);
        bool there = session_is_there(served, session, token);
        if (there) {
                leaves = presence->cache;
                presence->cache = area;
                area_audit(served, session);
        }
        spinlock_unlock(&presence->cache_lock);
        if (leaves)
                munmap(leaves, area_bytes(served));
        if (!there)
                *why = "its session is over";
        return there ? 0 : -EINVAL;
}

static int adopt(struct served_pool *served, uint32_t session, int fd, const uint8_t *token,
        const char **why) {
        struct cache_area *area;
        int error = area_map(served, fd, &area, why);
        if (fd >= 0)
                close(fd);
        return error ? error : area_adopt(served, session, area, token, why);
}

int cache_adopt(struct served_pool *served, uint32_t session, int fd, const char **why) {
        return adopt(served, session, fd, NULL, why);
}

void cache_close(struct served_pool *served, uint32_t session) {
        struct presence *presence = &served->presence[session];
        spinlock_lock(&presence->cache_lock);
        struct cache_area *area = presence->cache;
        presence->cache = NULL;
        atomic_store(&presence->shared_unseen, false);
        atomic_store(&presence->cache_sought, false);
        presence->cache_named = presence->held_unseen = false;
        spinlock_unlock(&presence->cache_lock);
        if (!area)
                return;
        struct cache_figures figures = {0};
        atomic_store(&area->closed, 1);
        for (unsigned order = 0; order < CACHE_ORDERS; order++)
                for (unsigned slot = 0; slot < CACHE_SLOTS; slot++) {
                        atomic_store(&area->slots[order][slot], 0);
                        figures.hits += atomic_load(&area->hits[order][slot]);
                }
        atomic_fetch_add(&served->closed_cache_hits, figures.hits);
        munmap(area, area_bytes(served));
}

/* ---- Of those who have not come back ---- */

static void cache_seek(struct served_pool *served, uint32_t session) {
        struct presence *presence = &served->presence[session];
        struct pool_session_info info;
        const char *why;
        spinlock_lock(&presence->cache_lock);
        bool there = presence->cache != NULL;
        spinlock_unlock(&presence->cache_lock);
        if (there || pool_session_info(served->pool, session, &info) != 0 ||
                info.state != SESSION_LIVE || info.identity.pid == 0)
                return;
        int fd = cache_fetch(&info.identity);
        if (fd >= 0)
                adopt(served, session, fd, info.identity.token, &why);
}

void cache_find(struct served_pool *served, uint32_t session) {
        struct presence *presence = &served->presence[session];
        if (atomic_load_explicit(&presence->cache_sought, memory_order_acquire))
                return;
        pthread_mutex_lock(&served->seek_lock);
        if (!atomic_load_explicit(&presence->cache_sought, memory_order_relaxed))
                cache_seek(served, session);
        atomic_store_explicit(&presence->cache_sought, true, memory_order_release);
        pthread_mutex_unlock(&served->seek_lock);
}

/* ---- Taking back ---- */

uint64_t cache_trim(struct served_pool *served, uint32_t session, unsigned order, unsigned keep) {
        struct presence *presence = &served->presence[session];
        uint64_t bytes = 0;
        cache_find(served, session);
        spinlock_lock(&presence->cache_lock);
        if (presence->cache && order < CACHE_ORDERS)
                bytes = order_take_back(served, session, order, keep);
        spinlock_unlock(&presence->cache_lock);
        return bytes;
}

bool cache_take_back_next(struct served_pool *served, uint32_t *session) {
        while ((*session = pool_session_next(served->pool, *session)) != 0) {
                struct presence *presence = &served->presence[*session];
                uint64_t bytes = 0;
                cache_find(served, *session);
                spinlock_lock(&presence->cache_lock);
                for (unsigned order = 0; presence->cache && order < CACHE_ORDERS; order++)
                        bytes += order_take_back(served, *session, order, 0);
                spinlock_unlock(&presence->cache_lock);
                if (bytes > 0)
                        return true;
        }
        return false;
}

int cache_grant(struct served_pool *served, uint32_t session, unsigned order, size_t count,
        struct block *out) {
        uint32_t from = 0;
        int error;
        do
                error = pool_grant_many(served->pool, session, order, count, out);
        while (error == -ENOMEM && cache_take_back_next(served, &from));
        if (error == -ENOMEM) /* others may have taken back before us what we looked for */
                error = pool_grant_many(served->pool, session, order, count, out);
        if (from != 0 || error == -ENOMEM)
                waiters_serve(&served->waiters); /* what came back and was not needed here */
        return error;
}

/* ---- Counting ---- */

void cache_each(struct served_pool *served, uint32_t session,
        void (*found)(void *context, struct block block), void *context) {
        struct presence *presence = &served->presence[session];
        cache_find(served, session);
        spinlock_lock(&presence->cache_lock);
        const struct cache_area *area = presence->cache;
        for (unsigned order = 0; area && order < CACHE_ORDERS; order++)
                for (unsigned i = 0; i < slots_used(area, order); i++) {
                        uint64_t value = atomic_load(&area->slots[order][cache_slot_index(i)]);
                        struct block block = slot_block(value, order);
                        if (value != 0 && block_is_sessions(served, session, block))
                                found(context, block);
                }
        spinlock_unlock(&presence->cache_lock);
}

void cache_count(struct served_pool *served, uint32_t session, struct cache_figures *out) {
        struct presence *presence = &served->presence[session];
        *out = (struct cache_figures){0};
        cache_find(served, session);
        spinlock_lock(&presence->cache_lock);
        const struct cache_area *area = presence->cache;
        for (unsigned order = 0; area && order < CACHE_ORDERS; order++)
                for (unsigned i = 0; i < slots_used(area, order); i++) {
                        unsigned slot = cache_slot_index(i);
                        uint64_t value = atomic_load(&area->slots[order][slot]);
                        out->hits += atomic_load(&area->hits[order][slot]);
                        if (value != 0 &&
                                block_is_sessions(served, session, slot_block(value, order)))
                                out->bytes += served->page_bytes << order;
                }
        spinlock_unlock(&presence->cache_lock);
        struct pool_session_info info; /* a range that is in many slots is one range */
        if (out->bytes > 0 && pool_session_info(served->pool, session, &info) != 0)
                out->bytes = 0;
        else if (out->bytes > 0 && info.held_bytes < out->bytes)
                out->bytes = info.held_bytes;
}

void cache_count_all(struct served_pool *served, struct cache_figures *sum) {
        *sum = (struct cache_figures){.hits = atomic_load(&served->closed_cache_hits)};
        for (uint32_t session = 0; (session = pool_session_next(served->pool, session)) != 0;) {
                struct cache_figures figures;
                cache_count(served, session, &figures);
                sum->bytes += figures.bytes;
                sum->hits += figures.hits;
        }
}
