/* See roll.h. Two lives of one block are two entries. */
#include "roll.h"

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

static bool grow(struct roll *roll) {
        struct roll grown = {.slot_count = roll->slot_count ? 2 * roll->slot_count : SLOTS_MIN,
                .used = roll->used};
        grown.slots = calloc(grown.slot_count, sizeof(*grown.slots));
        if (!grown.slots)
                return false;
        for (size_t i = 0; i < roll->slot_count; i++) {
                const struct roll_entry *entry = &roll->slots[i];
                if (entry->used)
                        *find_slot(&grown, &(struct holding){entry->offset, entry->length,
                                                   entry->generation, 0}) = *entry;
        }
        free(roll->slots);
        *roll = grown;
        return true;
}

struct roll_entry *roll_enter(struct roll *roll, const struct holding *range) {
        if (2 * roll->used >= roll->slot_count && !grow(roll))
                return NULL;
        struct roll_entry *slot = find_slot(roll, range);
        if (!slot->used) {
                *slot = (struct roll_entry){
                        .offset = range->offset,
                        .length = range->length,
                        .generation = range->generation,
                        .used = true,
                };
                roll->used++;
        }
        return slot;
}
