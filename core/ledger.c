/* Layout, formatting and opening of a ledger. What the words mean stands in ledger.h. */
#include "ledger.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef LEDGER_HOOK
#include "spinlock.h"
void (*ledger_store_hook)(const void *address, uint64_t value);
void (*spinlock_hook)(const struct spinlock *lock);
#endif

static_assert(sizeof(struct ledger_session) == 128, "session slots are two cache lines");
static_assert(sizeof(struct ledger_key) == 256, "key slots are four cache lines");
static_assert(sizeof(struct ledger_header) <= 4096, "the header is one page");

#define LEDGER_HOLDS_MIN (64u * 1024)
#define LEDGER_HOLDS_MAX                                                                           \
        (1024u * 1024 - 2 * LEDGER_KEYS) /* a step names them and the keys in 20 bits */

void ledger_object_name(
        uint32_t uid, const char *pool, const char *kind, char name[LEDGER_OBJECT_NAME_BYTES]) {
        snprintf(name, LEDGER_OBJECT_NAME_BYTES, "/buddyd.%u.%s.%s", uid, pool, kind);
}

/* Any one word that differs makes a difference: each step is a bijection. bytes: a multiple of 8. */
static uint64_t digest_add(uint64_t digest, const void *from, size_t bytes) {
        for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
                uint64_t word;
                memcpy(&word, (const char *)from + i, sizeof word);
                digest = (digest ^ word) * UINT64_C(0xff51afd7ed558ccd);
                digest ^= digest >> 32;
        }
        return digest;
}

#define DIGEST_SEED UINT64_C(0x9e3779b97f4a7c15)

uint32_t ledger_session_digest(
        const struct ledger_session *session, unsigned flags, uint32_t slot) {
        const uint64_t rest[] = {session->start_time, (uint64_t)session->pid << 32 | session->uid,
                (uint64_t)session->gid << 32 | flags};
        uint64_t digest = digest_add(DIGEST_SEED + slot, session->token, sizeof session->token);
        digest = digest_add(digest, rest, sizeof rest);
        digest = digest_add(digest, session->name, sizeof session->name);
        return (uint32_t)(digest ^ digest >> 32);
}

uint32_t ledger_key_digest(const struct ledger_key *key, uint32_t slot) {
        uint64_t digest = digest_add(
                DIGEST_SEED + ((uint64_t)key->uid << 32 | slot), key->name, sizeof key->name);
        return (uint32_t)(digest ^ digest >> 32);
}

static uint64_t boot_word(uint32_t boot) {
        uint64_t word = boot;
        return digest_add(DIGEST_SEED, &word, sizeof word) << 32 | boot;
}

uint64_t ledger_boot_word(const uint8_t boot_id[static 16]) {
        return boot_word((uint32_t)digest_add(DIGEST_SEED, boot_id, 16));
}

static uint64_t header_digest(const struct ledger_header *header) {
        const uint64_t figures[] = {header->version, header->page_shift, header->pages_max,
                header->pages_first, header->hold_count};
        uint64_t digest = digest_add(DIGEST_SEED, figures, sizeof figures);
        return digest_add(digest, header->pool, sizeof header->pool);
}

static uint64_t page_up(uint64_t bytes) {
        return (bytes + 4095) & ~UINT64_C(4095);
}

void ledger_layout(uint64_t pages_max, struct ledger_layout *out) {
        uint64_t holds = pages_max < LEDGER_HOLDS_MIN ? LEDGER_HOLDS_MIN : pages_max;
        if (holds > LEDGER_HOLDS_MAX)
                holds = LEDGER_HOLDS_MAX;
        uint64_t chunks = (pages_max + CHUNK_PAGES - 1) / CHUNK_PAGES;
        out->hold_count = holds;
        out->sessions = page_up(sizeof(struct ledger_header));
        out->keys = out->sessions + page_up(LEDGER_SESSIONS * sizeof(struct ledger_session));
        out->holds = out->keys + page_up(LEDGER_KEYS * sizeof(struct ledger_key));
        out->chunks = out->holds + page_up(holds * sizeof(uint64_t));
        out->records = out->chunks + page_up(chunks * sizeof(uint64_t));
        out->fixed_bytes = out->records;
        out->total_bytes = out->records + chunks * CHUNK_PAGES * sizeof(uint64_t);
}

static void ledger_place(void *memory, uint64_t pages_max, struct ledger *out) {
        struct ledger_layout layout;
        ledger_layout(pages_max, &layout);
        char *base = memory;
        out->header = memory;
        out->sessions = (void *)(base + layout.sessions);
        out->keys = (void *)(base + layout.keys);
        out->holds = (void *)(base + layout.holds);
        out->chunks = (void *)(base + layout.chunks);
        out->records = (void *)(base + layout.records);
        out->hold_count = layout.hold_count;
}

void ledger_format(void *memory, const struct ledger_identity *identity, struct ledger *out) {
        ledger_place(memory, identity->pages_max, out);
        struct ledger_header *header = out->header;
        header->magic = LEDGER_MAGIC;
        header->version = LEDGER_VERSION;
        header->page_shift = identity->page_shift;
        header->pages_max = identity->pages_max;
        header->pages_first = identity->pages;
        header->hold_count = out->hold_count;
        ledger_store(&header->boot, ledger_boot_word(identity->boot_id));
        snprintf(header->pool, sizeof header->pool, "%s", identity->pool);
        header->digest = header_digest(header);
        ledger_store(&header->pages_limit, identity->pages);
        ledger_store(&header->pages, identity->pages);
        ledger_store(&header->restarts, 0);
        ledger_store(&header->next_serial, 1);
        ledger_store(&header->ready, LEDGER_MAGIC);
}

static int __attribute__((format(printf, 3, 4)))
unclean(char *fault, size_t fault_bytes, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(fault, fault_bytes, format, arguments);
        va_end(arguments);
        return -EUCLEAN;
}

static int header_check(const struct ledger_header *header, uint64_t memory_bytes, char *fault,
        size_t fault_bytes) {
        if (header->magic != LEDGER_MAGIC)
                return unclean(fault, fault_bytes, "header: magic is %#llx, not %#llx",
                        (unsigned long long)header->magic, (unsigned long long)LEDGER_MAGIC);
        if (header->version != LEDGER_VERSION)
                return unclean(fault, fault_bytes,
                        "header: layout version %u, this program knows %u", header->version,
                        LEDGER_VERSION);
        if (header->digest != header_digest(header))
                return unclean(fault, fault_bytes,
                        "header: its geometry or name does not match its digest");
        uint64_t boot = ledger_load(&header->boot);
        if (boot != boot_word((uint32_t)boot))
                return unclean(fault, fault_bytes, "header: no such word for a boot: %#llx",
                        (unsigned long long)boot);
        if (header->page_shift < PAGE_SHIFT_MIN || header->page_shift > PAGE_SHIFT_MAX)
                return unclean(fault, fault_bytes, "header: page size 2^%u", header->page_shift);
        uint64_t pages = ledger_load(&header->pages);
        uint64_t limit = ledger_load(&header->pages_limit);
        if (pages == 0 || pages < header->pages_first || pages > limit ||
                limit > header->pages_max || header->pages_max > PAGE_NONE)
                return unclean(fault, fault_bytes,
                        "header: %llu pages of at most %llu, grown to %llu",
                        (unsigned long long)pages, (unsigned long long)header->pages_max,
                        (unsigned long long)limit);
        struct ledger_layout layout;
        ledger_layout(header->pages_max, &layout);
        if (header->hold_count != layout.hold_count || memory_bytes != layout.total_bytes)
                return unclean(fault, fault_bytes, "header: %llu bytes long, its figures need %llu",
                        (unsigned long long)memory_bytes, (unsigned long long)layout.total_bytes);
        if (!memchr(header->pool, 0, sizeof header->pool))
                return unclean(fault, fault_bytes, "header: pool name has no end");
        return 0;
}

int ledger_open(
        void *memory, uint64_t memory_bytes, struct ledger *out, char *fault, size_t fault_bytes) {
        const struct ledger_header *header = memory;
        if (memory_bytes < sizeof *header)
                return -ENODATA;
        uint64_t ready = ledger_load(&header->ready);
        if (ready == 0)
                return -ENODATA;
        if (ready != LEDGER_MAGIC)
                return unclean(fault, fault_bytes, "header: ready mark is %#llx, not %#llx",
                        (unsigned long long)ready, (unsigned long long)LEDGER_MAGIC);
        int r = header_check(header, memory_bytes, fault, fault_bytes);
        if (r < 0)
                return r;
        ledger_place(memory, header->pages_max, out);
        return 0;
}

bool ledger_next_live(const struct ledger *ledger, uint64_t pages, uint64_t *page,
        struct block *out, uint32_t *owner) {
        while (*page < pages) {
                uint64_t chunk = *page >> CHUNK_ORDER;
                uint64_t chunk_end = (chunk + 1) << CHUNK_ORDER;
                struct ledger_record record = ledger_unpack(ledger_load(&ledger->chunks[chunk]));
                if (record.order_plus_1 == 0) {
                        *page = chunk_end;
                        continue;
                }
                if (record.order_plus_1 != CHUNK_SPLIT) {
                        uint64_t end = (chunk << CHUNK_ORDER) +
                                       order_pages((record.order_plus_1 - 1) & 31);
                        if (*page > chunk << CHUNK_ORDER) {
                                *page = end;
                                continue;
                        }
                } else {
                        uint64_t stop = chunk_end < pages ? chunk_end : pages;
                        uint64_t at = *page;
                        while (at < stop && ledger_load(&ledger->records[at]) >> 58 == 0)
                                at++;
                        *page = at;
                        if (at == stop)
                                continue;
                        record = ledger_unpack(ledger_load(&ledger->records[at]));
                        if (record.order_plus_1 == 0)
                                continue;
                }
                *out = (struct block){.page = (uint32_t)*page,
                        .order = (record.order_plus_1 - 1) & 31,
                        .generation = record.generation};
                *owner = record.owner;
                *page += order_pages(out->order);
                return true;
        }
        return false;
}
