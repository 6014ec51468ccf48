/* See roll.h. Two lives of one block are two entries. */
#include "roll.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS_MIN 64u

void roll_deinit(struct roll *roll) {
        free(roll->slots);
        *roll = (struct roll){0};
}

static struct roll_entry *find_slot(const struct roll *roll, const struct holding *range) {
        size_t mask = roll->slot_count - 1;
        size_t index = holding_hash(range->offset) & mask;
        for (;; index = (index + 1) & mask) {
                struct roll_entry *slot = &roll->slots[index];
                if (!slot->used ||
                        (slot->offset == range->offset && slot->length == range->length &&
                                slot->generation == range->generation))
                        return slot;
        }
}

struct roll_entry *roll_find(const struct roll *roll, const struct holding *range) {
        if (roll->slot_count == 0)
                return NULL;
        struct roll_entry *slot = find_slot(roll, range);
        return slot->used ? slot : NULL;
}

static int resize(struct roll *roll, size_t slot_count) {
        struct roll grown = {.slot_count = slot_count, .used = roll->used};
        grown.slots = calloc(grown.slot_count, sizeof(*grown.slots));
        if (!grown.slots)
                return -ENOMEM;
        for (size_t i = 0; i < roll->slot_count; i++) {
                const struct roll_entry *entry = &roll->slots[i];
                if (entry->used)
                        *find_slot(&grown, &(struct holding){entry->offset, entry->length,
                                                   entry->generation, 0, 0}) = *entry;
        }
        free(roll->slots);
        *roll = grown;
        return 0;
}

int roll_reserve(struct roll *roll, size_t count) {
        size_t slot_count = roll->slot_count ? roll->slot_count : SLOTS_MIN;
        while (slot_count / 2 < count)
                slot_count *= 2;
        return slot_count == roll->slot_count ? 0 : resize(roll, slot_count);
}

struct roll_entry *roll_enter(struct roll *roll, const struct holding *range) {
        struct roll_entry *slot = roll_find(roll, range);
        if (slot)
                return slot;
        if (roll_reserve(roll, roll->used + 1) < 0)
                return NULL;
        slot = find_slot(roll, range);
        *slot = (struct roll_entry){
                .offset = range->offset,
                .length = range->length,
                .generation = range->generation,
                .used = true,
        };
        roll->used++;
        return slot;
}
