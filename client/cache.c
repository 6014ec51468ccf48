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

#include "cache_slot.h"
#include "proto/message.h"
#include "stream.h"

struct cache_page {
        struct cache_page *next;
        const struct cache_pulse *pulse; /* owned mapping */
};

/* Before the first daemon has sent its own, and at the end: there is no daemon. */
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

/* The largest block of which one fits into the budget. */
static uint64_t block_max(uint64_t page_bytes, uint64_t budget_bytes) {
        uint64_t bytes = page_bytes << (CACHE_ORDERS - 1);
        while (bytes > budget_bytes)
                bytes /= 2;
        return bytes;
}

bool cache_init(struct cache *cache, const struct cache_pool *pool, uint64_t budget_bytes) {
        uint64_t page_bytes = pool->page_bytes, max_size_bytes = pool->max_size_bytes;
        uint64_t bytes = cache_area_bytes(max_size_bytes / page_bytes);
        *cache = (struct cache){.fd = -1};
        if (budget_bytes < page_bytes || bytes > CACHE_AREA_MAX)
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
                .size_bytes = max_size_bytes,
                .pulse = &no_pulse,
                .page_shift = (unsigned)__builtin_ctzll(page_bytes),
                .block_max_bytes = block_max(page_bytes, budget_bytes),
                .budget_bytes = budget_bytes,
                .keeper = pool->keeper,
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

void cache_shut(struct cache *cache) {
        atomic_store_explicit(&cache->pulse, &no_pulse, memory_order_release);
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

/* A page that is not there, or goes away later, would be a signal for whoever looks at it. */
static bool pulse_stays(int fd) {
        struct stat stat;
        int seals = fcntl(fd, F_GET_SEALS);
        return seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &stat) == 0 &&
               stat.st_size >= (off_t)sizeof(struct cache_pulse);
}

static int map_pulse(struct cache *cache, int fd) {
        if (!pulse_stays(fd))
                return -EPROTO;
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

/* ---- Returning ---- */

/* Whether the range can have a word; a gift has one also where it is longer than what is kept. */
static bool is_possible(const struct cache *cache, const struct buddyclient_range *range) {
        uint64_t length = range->length, pages = length >> cache->page_shift;
        return pages != 0 && pages >> CACHE_ORDERS == 0 && (length & (length - 1)) == 0 &&
               (range->offset & (length - 1)) == 0 && range->offset < cache->size_bytes &&
               range->generation >> CACHE_ORDER_SHIFT == 0;
}

bool cache_is_open(const struct cache *cache) {
        return cache_pulse_is_open(cache_pulse_of(cache));
}

enum cache_verdict cache_judge(
        struct cache *cache, const struct buddyclient_range *range, uint64_t *word) {
        if (!is_possible(cache, range))
                return CACHE_UNKNOWN;
        uint64_t seen = atomic_load_explicit(cache_word_of(cache, range), memory_order_acquire);
        *word = seen;
        if (!cache_word_is_of(seen, (uint32_t)range->generation, cache_order(cache, range->length)))
                return CACHE_UNKNOWN;
        if (!(seen & CACHE_IN_USE))
                return CACHE_STALE;
        if (cache_word_name(seen) != range->generation)
                return (seen & CACHE_SHARED) && range->generation >> CACHE_USE_SHIFT == 0
                               ? CACHE_OTHERS
                               : CACHE_STALE;
        return cache_word_is_mine(cache, range, seen) ? CACHE_MINE : CACHE_OTHERS;
}

void cache_unclaim(struct cache *cache, const struct buddyclient_range *range) {
        atomic_fetch_or(cache_word_of(cache, range), CACHE_IN_USE);
}

/* Another thread may have used it in between and put it into the same slot: the name that it has then. */
static uint64_t name_now(struct cache *cache, const struct buddyclient_range *range) {
        return cache_word_name(atomic_load(cache_word_of(cache, range)));
}

enum cache_release cache_put(
        struct cache *cache, struct buddyclient_range *range, struct cache_putting *putting) {
        unsigned order = cache_order(cache, range->length);
        uint64_t value = cache_slot_pack(cache_page(cache, range), (uint32_t)range->generation);
        if (putting->order != order)
                *putting = (struct cache_putting){.pulse = putting->pulse, .order = order};
        enum cache_release result = cache_fill(cache, putting, value);
        if (result == CACHE_BY_REQUEST)
                range->generation = name_now(cache, range);
        return result;
}

/* By a look at its word that did not find it to be the client's alone. */
static enum cache_release refuse_release(
        struct cache *cache, const struct buddyclient_range *range) {
        uint64_t word;
        return cache_judge(cache, range, &word) == CACHE_STALE ? CACHE_RELEASED_BEFORE
                                                               : CACHE_BY_REQUEST;
}

enum cache_release cache_release(
        struct cache *cache, const struct buddyclient_range *range, uint64_t *renamed) {
        if (range->offset >= cache->size_bytes)
                return CACHE_BY_REQUEST;
        _Atomic uint64_t *word = cache_word_of(cache, range);
        struct cache_putting putting = {.tried = 0};
        uint64_t seen;
        do { /* until nobody attaches to it, or returns it as well, in between */
                seen = atomic_load_explicit(word, memory_order_acquire);
                if (!cache_word_is_mine(cache, range, seen))
                        return refuse_release(cache, range);
                putting.pulse = cache_pulse_of(cache);
                if (!cache_pulse_is_open(putting.pulse))
                        return CACHE_BY_REQUEST;
        } while (!cache_claim(word, seen));
        putting.order = cache_word_order(seen);
        enum cache_release result = cache_fill(cache, &putting,
                cache_slot_pack(cache_page(cache, range), (uint32_t)range->generation));
        if (result <= CACHE_RELEASED_FULL)
                return result;
        if (result == CACHE_BY_REQUEST)
                *renamed = name_now(cache, range);
        cache_unclaim(cache, range);
        return result;
}

/* ---- What is not to be used ---- */

/* Others have become holders of it under a daemon that met the cache late: of what a thread had claimed, and put there since, or of what had
 * been taken out and not been used yet. Whoever emptied the slot has it, so it goes back once. */
static void give_back(struct cache *cache, unsigned order, uint64_t value) {
        const uint64_t flags = CACHE_COUNTED | CACHE_SHARED;
        struct buddyclient_range range = {
                .offset = (value >> 32) << cache->page_shift,
                .length = UINT64_C(1) << (cache->page_shift + order),
        };
        uint64_t seen = atomic_load(cache_word_of(cache, &range));
        if (!cache_word_is_of(seen, (uint32_t)value, order) ||
                (seen & (CACHE_IN_USE | flags)) != flags || atomic_load(&cache->area->closed))
                return;
        range.generation = cache_word_name(seen);
        cache_unclaim(cache, &range);
        cache->keeper.give_back(cache->keeper.context, &range);
}

size_t cache_take_others(struct cache *cache, unsigned order, uint64_t value, size_t count,
        struct buddyclient_range *out) {
        give_back(cache, order, value);
        return cache_take(cache, UINT64_C(1) << (cache->page_shift + order), count, out);
}

bool cache_leave(struct cache *cache, const struct buddyclient_range *range, uint64_t word) {
        uint64_t left = (word & ~(CACHE_COUNTED | CACHE_GIFT)) | CACHE_SHARED;
        if (!atomic_compare_exchange_strong(cache_word_of(cache, range), &word, left))
                return false;
        if (cache_word_counts(word))
                atomic_fetch_sub(&cache->area->counted, 1);
        return true;
}

/* ---- Grants ---- */

bool cache_may_count(const struct cache *cache, const struct buddyclient_range *range) {
        return cache_serves(cache, range->length) && is_possible(cache, range) &&
               range->generation <= CACHE_GENERATION_MAX;
}

static void note(struct cache *cache, const struct buddyclient_range *range, uint64_t flags) {
        uint64_t word = cache_word_pack(range->generation, cache_order(cache, range->length));
        uint64_t old = atomic_exchange(cache_word_of(cache, range), word | flags | CACHE_COUNTED);
        if (!cache_word_counts(old))
                atomic_fetch_add(&cache->area->counted, 1);
}

void cache_note_granted(struct cache *cache, struct buddyclient_range *range) {
        range->generation |= UINT64_C(1) << CACHE_USE_SHIFT;
        note(cache, range, CACHE_IN_USE);
}

bool cache_keep_spare(struct cache *cache, const struct buddyclient_range *range) {
        struct cache_putting putting = {.pulse = cache_pulse_of(cache)};
        if (!cache_may_count(cache, range) || !cache_pulse_is_open(putting.pulse))
                return false;
        note(cache, range, 0);
        struct buddyclient_range spare = *range;
        if (cache_put(cache, &spare, &putting) <= CACHE_RELEASED_FULL)
                return true;
        uint64_t word = atomic_exchange(cache_word_of(cache, range), 0);
        if (cache_word_counts(word))
                atomic_fetch_sub(&cache->area->counted, 1);
        return false;
}

bool cache_counts(struct cache *cache, const struct buddyclient_range *range) {
        if (!is_possible(cache, range))
                return false;
        uint64_t word = atomic_load(cache_word_of(cache, range));
        return cache_word_counts(word) && cache_word_is_of(word, (uint32_t)range->generation,
                                                  cache_order(cache, range->length));
}

uint64_t cache_counted(const struct cache *cache) {
        return cache->area ? atomic_load(&cache->area->counted) : 0;
}

void cache_set_counted(struct cache *cache, uint64_t counted) {
        if (cache->area)
                atomic_store(&cache->area->counted, counted);
}
