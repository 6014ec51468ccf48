/* See cache.h. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/message.h"
#include "stream.h"

#define LIMIT_FIRST 8u

struct cache_page {
        struct cache_page *next;
        const struct cache_pulse *pulse; /* owned mapping */
};

/* Before the first daemon has sent its own: there is no daemon. */
static const struct cache_pulse no_pulse;

/* ---- The memory ---- */

static int area_fd_new(uint64_t bytes) {
        int fd = memfd_create(CACHE_AREA_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -1;
        if (fchmod(fd, 0600) == 0 && ftruncate(fd, (off_t)bytes) == 0 &&
                fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
                return fd;
        close(fd);
        return -1;
}

bool cache_init(struct cache *cache, const struct cache_pool *pool, uint64_t budget_bytes) {
        uint64_t page_bytes = pool->page_bytes, max_size_bytes = pool->max_size_bytes;
        uint64_t bytes = cache_area_bytes(max_size_bytes / page_bytes);
        *cache = (struct cache){.fd = -1};
        if (budget_bytes < page_bytes || page_bytes > CACHE_BLOCK_MAX || bytes > CACHE_AREA_MAX)
                return false;
        int fd = area_fd_new(bytes);
        if (fd < 0)
                return false;
        void *area = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (area == MAP_FAILED) {
                close(fd);
                return false;
        }
        *cache = (struct cache){
                .area = area,
                .area_bytes = bytes,
                .fd = fd,
                .size_bytes = max_size_bytes & ~(CACHE_BLOCK_MAX - 1),
                .pulse = &no_pulse,
                .page_shift = (unsigned)__builtin_ctzll(page_bytes),
                .block_max_bytes = budget_bytes < CACHE_BLOCK_MAX ? budget_bytes : CACHE_BLOCK_MAX,
                .budget_bytes = budget_bytes,
        };
        memcpy(cache->area->token, pool->token, sizeof(cache->area->token));
        pthread_mutex_init(&cache->lock, NULL);
        return true;
}

void cache_deinit(struct cache *cache) {
        if (!cache->area)
                return;
        munmap(cache->area, cache->area_bytes);
        for (struct cache_page *page; (page = cache->pages);) {
                cache->pages = page->next;
                munmap((void *)(uintptr_t)page->pulse, sizeof(*page->pulse));
                free(page);
        }
        close(cache->fd);
        *cache = (struct cache){.fd = -1};
}

/* ---- Handing it over ---- */

int cache_hand_over_send(const struct cache *cache, struct stream *stream, uint64_t id) {
        struct request request = {.id = id, .kind = REQUEST_CACHE};
        ptrdiff_t length =
                request_encode(&request, stream->out, FRAME_HEADER_BYTES + FRAME_REQUEST_MAX);
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {0};
        struct iovec bytes = {stream->out, (size_t)length};
        struct msghdr header = {
                .msg_iov = &bytes,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        struct cmsghdr *passed = CMSG_FIRSTHDR(&header);
        passed->cmsg_level = SOL_SOCKET;
        passed->cmsg_type = SCM_RIGHTS;
        passed->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(passed), &cache->fd, sizeof(int));
        return sendmsg(stream->fd, &header, MSG_NOSIGNAL) == length ? 0 : -ENOTCONN;
}

static int map_pulse(struct cache *cache, int fd) {
        struct cache_page *page = malloc(sizeof(*page));
        void *pulse =
                page ? mmap(NULL, sizeof(*page->pulse), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
        if (pulse == MAP_FAILED) {
                free(page);
                return -EAGAIN;
        }
        *page = (struct cache_page){.next = cache->pages, .pulse = pulse};
        cache->pages = page;
        atomic_store_explicit(&cache->pulse, page->pulse, memory_order_release);
        return 0;
}

static int judge(struct cache *cache, const struct reply *reply, uint64_t id,
        const struct stream_descriptors *descriptors) {
        if (reply->id != id || (reply->kind != REPLY_DONE && reply->kind != REPLY_REFUSED))
                return -EPROTO;
        if (reply->kind == REPLY_REFUSED)
                return -EAGAIN;
        return descriptors->count == 1 ? map_pulse(cache, descriptors->fds[0]) : -EPROTO;
}

int cache_hand_over_receive(struct cache *cache, struct stream *stream, uint64_t id,
        int64_t deadline, struct stream_descriptors *descriptors) {
        const uint8_t *message;
        size_t length;
        int rc;
        while ((rc = stream_next(stream, &message, &length)) == 0)
                if ((rc = stream_receive(stream, deadline, descriptors)) < 0)
                        break;
        if (rc == -ETIMEDOUT)
                return rc;
        struct arena arena;
        if (rc > 0 && (rc = arena_init(&arena, MESSAGE_ARENA_REPLY)) == 0) {
                struct reply reply;
                rc = reply_decode(&arena, message, length, &reply) < 0
                             ? -EPROTO
                             : judge(cache, &reply, id, descriptors);
                arena_deinit(&arena);
        }
        stream_descriptors_close(descriptors);
        return rc;
}

int cache_hand_over(struct cache *cache, struct stream *stream, uint64_t id, int64_t deadline) {
        struct stream_descriptors descriptors = {0};
        int rc = cache_hand_over_send(cache, stream, id);
        if (rc == 0)
                rc = cache_hand_over_receive(cache, stream, id, deadline, &descriptors);
        stream_descriptors_close(&descriptors);
        return rc;
}

/* ---- Units ---- */

bool cache_serves(const struct cache *cache, uint64_t length) {
        return cache->area && length - 1 < cache->block_max_bytes; /* 0 is none of ours */
}

unsigned cache_order(const struct cache *cache, uint64_t length) {
        uint64_t last_page = (length - 1) >> cache->page_shift;
        return last_page == 0 ? 0 : 64u - (unsigned)__builtin_clzll(last_page);
}

static uint32_t page_of(const struct cache *cache, const struct buddyclient_range *range) {
        return (uint32_t)(range->offset >> cache->page_shift);
}

static _Atomic uint64_t *word_of(struct cache *cache, const struct buddyclient_range *range) {
        return cache_word(cache->area, page_of(cache, range));
}

/* Whether the range can have a word. */
static bool is_possible(const struct cache *cache, const struct buddyclient_range *range) {
        uint64_t length = range->length;
        return cache_serves(cache, length) && (length & (length - 1)) == 0 &&
               length >> cache->page_shift != 0 && (range->offset & (length - 1)) == 0 &&
               range->offset < cache->size_bytes && range->generation >> 56 == 0;
}

/* Threads begin at different slots, whose words lie in different cache lines. */
static unsigned first_slot(void) {
        uint64_t thread = (uint64_t)(uintptr_t)__builtin_thread_pointer();
        return (unsigned)((thread * UINT64_C(0x9e3779b97f4a7c15)) >> 61);
}

static const struct cache_pulse *pulse_of(const struct cache *cache) {
        return atomic_load_explicit(&cache->pulse, memory_order_acquire);
}

bool cache_is_open(const struct cache *cache) {
        const struct cache_pulse *pulse = pulse_of(cache);
        return cache_pulse_beats(pulse) &&
               atomic_load_explicit(&pulse->pressure, memory_order_relaxed) == 0;
}

/* ---- Taking ---- */

/* The word of a range that came out of a slot becomes that of its next use; *name is that. */
static bool begin_use(struct cache *cache, uint64_t value, unsigned order, uint64_t *name) {
        _Atomic uint64_t *word = cache_word(cache->area, (uint32_t)(value >> 32));
        uint64_t seen = atomic_load_explicit(word, memory_order_acquire);
        if (!cache_word_is_of(seen, (uint32_t)value, order) ||
                (seen & (CACHE_IN_USE | CACHE_SHARED | CACHE_COUNTED)) != CACHE_COUNTED)
                return false;
        *name = cache_word_name(seen) + (UINT64_C(1) << CACHE_USE_SHIFT);
        atomic_store_explicit(word, cache_word_pack(*name, order) | CACHE_IN_USE | CACHE_COUNTED,
                memory_order_release);
        return true;
}

static bool take_slot(
        struct cache *cache, unsigned order, unsigned slot, struct buddyclient_range *out) {
        struct cache_area *area = cache->area;
        _Atomic uint64_t *at = &area->slots[order][slot];
        uint64_t value = atomic_load_explicit(at, memory_order_relaxed), name;
        if (value == 0 || (value & CACHE_TAKEN_BACK) ||
                !atomic_compare_exchange_strong(at, &value, 0))
                return false;
        if (atomic_load_explicit(&area->closed, memory_order_relaxed) ||
                !begin_use(cache, value, order, &name))
                return false;
        _Atomic uint64_t *hits = &area->hits[order][slot];
        atomic_store_explicit(
                hits, atomic_load_explicit(hits, memory_order_relaxed) + 1, memory_order_relaxed);
        *out = (struct buddyclient_range){
                .offset = (value >> 32) << cache->page_shift,
                .length = UINT64_C(1) << (cache->page_shift + order),
                .generation = name,
        };
        return true;
}

bool cache_take(struct cache *cache, uint64_t length, struct buddyclient_range *out) {
        unsigned order = cache_order(cache, length), first = first_slot();
        uint32_t limit = atomic_load_explicit(&cache->limits[order], memory_order_relaxed);
        if (!cache_pulse_beats(pulse_of(cache)))
                return false;
        for (unsigned i = 0; i < limit; i++)
                if (take_slot(cache, order, cache_slot_index((first + i) & (limit - 1)), out))
                        return true;
        return false;
}

/* ---- Returning ---- */

enum cache_verdict cache_judge(
        struct cache *cache, const struct buddyclient_range *range, uint64_t *word) {
        if (!is_possible(cache, range))
                return CACHE_UNKNOWN;
        uint64_t seen = atomic_load_explicit(word_of(cache, range), memory_order_acquire);
        *word = seen;
        if (!cache_word_is_of(seen, (uint32_t)range->generation, cache_order(cache, range->length)))
                return CACHE_UNKNOWN;
        if (!(seen & CACHE_IN_USE))
                return CACHE_STALE;
        if (cache_word_name(seen) != range->generation)
                return (seen & CACHE_SHARED) && range->generation >> CACHE_USE_SHIFT == 0
                               ? CACHE_OTHERS
                               : CACHE_STALE;
        return (seen & (CACHE_SHARED | CACHE_COUNTED)) == CACHE_COUNTED ? CACHE_MINE : CACHE_OTHERS;
}

bool cache_claim(struct cache *cache, const struct buddyclient_range *range, uint64_t word) {
        return range->generation >> CACHE_USE_SHIFT < CACHE_USE_MAX &&
               atomic_compare_exchange_strong(word_of(cache, range), &word, word & ~CACHE_IN_USE);
}

void cache_unclaim(struct cache *cache, const struct buddyclient_range *range) {
        atomic_fetch_or(word_of(cache, range), CACHE_IN_USE);
}

/* What is put while somebody begins to wait: either he sees it in the slot, or we see that he waits. */
static bool stays_put(struct cache *cache, _Atomic uint64_t *at, uint64_t value) {
        const struct cache_pulse *pulse = pulse_of(cache);
        bool open = cache_pulse_beats(pulse) && atomic_load(&pulse->pressure) == 0;
        return open || !atomic_compare_exchange_strong(at, &value, 0);
}

bool cache_put(struct cache *cache, struct buddyclient_range *range, bool *full) {
        unsigned order = cache_order(cache, range->length), first = first_slot();
        uint32_t limit = atomic_load_explicit(&cache->limits[order], memory_order_relaxed);
        uint64_t value = cache_slot_pack(page_of(cache, range), (uint32_t)range->generation);
        for (unsigned i = 0; i < limit; i++) {
                unsigned slot = cache_slot_index((first + i) & (limit - 1));
                _Atomic uint64_t *at = &cache->area->slots[order][slot];
                uint64_t empty = 0;
                if (atomic_load_explicit(at, memory_order_relaxed) != 0 ||
                        !atomic_compare_exchange_strong(at, &empty, value))
                        continue;
                *full = i + 1 == limit;
                if (stays_put(cache, at, value))
                        return true;
                /* Another thread may have used it in between and put it into the same slot. */
                range->generation = cache_word_name(atomic_load(word_of(cache, range)));
                return false;
        }
        *full = true;
        return false;
}

enum cache_release cache_release(struct cache *cache, struct buddyclient_range *range) {
        uint64_t word;
        bool full;
        for (;;) {
                enum cache_verdict verdict = cache_judge(cache, range, &word);
                if (verdict == CACHE_STALE)
                        return CACHE_RELEASED_BEFORE;
                if (verdict != CACHE_MINE || !cache_is_open(cache) ||
                        range->generation >> CACHE_USE_SHIFT == CACHE_USE_MAX)
                        return CACHE_BY_REQUEST;
                if (!cache_claim(cache, range, word))
                        continue; /* somebody attached to it, or returns it as well */
                if (cache_put(cache, range, &full))
                        return full ? CACHE_RELEASED_FULL : CACHE_RELEASED;
                cache_unclaim(cache, range);
                return CACHE_BY_REQUEST;
        }
}

bool cache_leave(struct cache *cache, const struct buddyclient_range *range, uint64_t word) {
        uint64_t left = (word & ~CACHE_COUNTED) | CACHE_SHARED;
        if (!atomic_compare_exchange_strong(word_of(cache, range), &word, left))
                return false;
        atomic_fetch_sub(&cache->area->counted, 1);
        return true;
}

/* ---- Grants ---- */

bool cache_may_count(const struct cache *cache, const struct buddyclient_range *range) {
        return is_possible(cache, range) && range->generation <= CACHE_GENERATION_MAX;
}

static void note(struct cache *cache, const struct buddyclient_range *range, uint64_t flags) {
        uint64_t word = cache_word_pack(range->generation, cache_order(cache, range->length));
        uint64_t old = atomic_exchange(word_of(cache, range), word | flags | CACHE_COUNTED);
        if (!(old & CACHE_COUNTED))
                atomic_fetch_add(&cache->area->counted, 1);
}

void cache_note_granted(struct cache *cache, struct buddyclient_range *range) {
        range->generation |= UINT64_C(1) << CACHE_USE_SHIFT;
        note(cache, range, CACHE_IN_USE);
}

bool cache_keep_spare(struct cache *cache, const struct buddyclient_range *range) {
        bool full;
        if (!cache_may_count(cache, range) || !cache_is_open(cache))
                return false;
        note(cache, range, 0);
        struct buddyclient_range spare = *range;
        if (cache_put(cache, &spare, &full))
                return true;
        uint64_t word = atomic_exchange(word_of(cache, range), 0);
        if (word & CACHE_COUNTED)
                atomic_fetch_sub(&cache->area->counted, 1);
        return false;
}

bool cache_counts(struct cache *cache, const struct buddyclient_range *range) {
        if (!is_possible(cache, range))
                return false;
        uint64_t word = atomic_load(word_of(cache, range));
        return (word & CACHE_COUNTED) && cache_word_is_of(word, (uint32_t)range->generation,
                                                 cache_order(cache, range->length));
}

uint64_t cache_counted(const struct cache *cache) {
        return cache->area ? atomic_load(&cache->area->counted) : 0;
}

void cache_set_counted(struct cache *cache, uint64_t counted) {
        if (cache->area)
                atomic_store(&cache->area->counted, counted);
}

/* ---- Policy: who misses gets slots, twice as many each time; who does not use its own loses them to him ---- */

static uint64_t block_bytes(const struct cache *cache, unsigned order) {
        return UINT64_C(1) << (cache->page_shift + order);
}

static void set_limit_locked(struct cache *cache, unsigned order, uint32_t limit) {
        uint32_t old = atomic_load(&cache->limits[order]);
        cache->spent_bytes += ((uint64_t)limit - old) * block_bytes(cache, order);
        if (limit > atomic_load(&cache->area->used[order]))
                atomic_store(&cache->area->used[order], limit);
        atomic_store(&cache->limits[order], limit);
}

static bool grow_locked(struct cache *cache, unsigned order) {
        uint32_t limit = atomic_load(&cache->limits[order]);
        uint64_t left = cache->budget_bytes - cache->spent_bytes;
        for (uint32_t more = limit ? limit : LIMIT_FIRST; more > 0; more /= 2) {
                bool whole = limit == 0 || more == limit;
                if (whole && limit + more <= CACHE_SLOTS &&
                        more * block_bytes(cache, order) <= left) {
                        set_limit_locked(cache, order, limit + more);
                        return true;
                }
        }
        return limit == CACHE_SLOTS;
}

static uint64_t hits_of(const struct cache *cache, unsigned order) {
        uint64_t hits = 0;
        for (unsigned slot = 0; slot < CACHE_SLOTS; slot++)
                hits += atomic_load_explicit(&cache->area->hits[order][slot], memory_order_relaxed);
        return hits;
}

/* An order that nothing was taken from since the last time. */
static int find_idle_locked(struct cache *cache, unsigned not_this) {
        int idle = -1;
        for (unsigned order = 0; order < CACHE_ORDERS; order++) {
                uint64_t hits = hits_of(cache, order);
                if (order != not_this && atomic_load(&cache->limits[order]) > 0 &&
                        hits == cache->hits_seen[order])
                        idle = (int)order;
                cache->hits_seen[order] = hits;
        }
        return idle;
}

unsigned cache_missed(struct cache *cache, unsigned order, int *emptied) {
        *emptied = -1;
        pthread_mutex_lock(&cache->lock);
        if (!grow_locked(cache, order)) {
                *emptied = find_idle_locked(cache, order);
                if (*emptied >= 0) {
                        set_limit_locked(cache, (unsigned)*emptied, 0);
                        grow_locked(cache, order);
                }
        }
        unsigned spare = cache->refilling[order] ? 0 : atomic_load(&cache->limits[order]) / 2;
        if (spare > 0)
                cache->refilling[order] = true;
        pthread_mutex_unlock(&cache->lock);
        return spare;
}

void cache_refilled(struct cache *cache, unsigned order) {
        pthread_mutex_lock(&cache->lock);
        cache->refilling[order] = false;
        pthread_mutex_unlock(&cache->lock);
}

unsigned cache_keep(const struct cache *cache, unsigned order) {
        return atomic_load_explicit(&cache->limits[order], memory_order_relaxed) / 2;
}
