#include "fault_marks.h"

#include <stdatomic.h>

#define PAGE UINT64_C(4096)

static uint64_t mixed(uint64_t serial, uint64_t page) {
        uint64_t word =
                (serial ^ page * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);
        return word ^ word >> 31;
}

static _Atomic uint64_t *word_at(
        struct buddyclient *client, const struct buddyclient_range *range, uint64_t at) {
        char *bytes = buddyclient_pointer(client, range);
        return (_Atomic uint64_t *)(void *)(bytes + at);
}

void marks_write(
        struct buddyclient *client, const struct buddyclient_range *range, uint64_t serial) {
        for (uint64_t at = 0; at < range->length; at += PAGE) {
                atomic_store_explicit(word_at(client, range, at), serial, memory_order_relaxed);
                atomic_store_explicit(word_at(client, range, at + PAGE - 8),
                        mixed(serial, (range->offset + at) / PAGE), memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_release);
}

uint64_t marks_serial(struct buddyclient *client, const struct buddyclient_range *range) {
        return atomic_load(word_at(client, range, 0));
}

bool marks_hold(struct buddyclient *client, const struct buddyclient_range *range, uint64_t serial,
        uint64_t *bad_page, uint64_t *found) {
        for (uint64_t at = 0; at < range->length; at += PAGE) {
                uint64_t page = (range->offset + at) / PAGE;
                uint64_t first = atomic_load(word_at(client, range, at));
                uint64_t last = atomic_load(word_at(client, range, at + PAGE - 8));
                if (first == serial && last == mixed(serial, page))
                        continue;
                *bad_page = page;
                *found = first;
                return false;
        }
        return true;
}
