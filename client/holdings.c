/* An open-addressing hash table from offsets to holdings. Removing shifts followers back, so there
 * are no tombstones and a probe ends at the first empty slot. It grows and never shrinks. */
#include "holdings.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define SLOTS_MIN 64u

void holdings_init(struct holdings *holdings) {
        *holdings = (struct holdings){0};
        pthread_mutex_init(&holdings->lock, NULL);
}

void holdings_deinit(struct holdings *holdings) {
        free(holdings->slots);
        holdings->slots = NULL;
}

static size_t home_slot(const struct holdings *holdings, uint64_t offset) {
        return holding_hash(offset) & (holdings->slot_count - 1);
}

/* The slot of this offset, or the empty one where it would go. */
static struct holding *find_slot(const struct holdings *holdings, uint64_t offset) {
        size_t index = home_slot(holdings, offset);
        while (holdings->slots[index].count != 0 && holdings->slots[index].offset != offset)
                index = (index + 1) & (holdings->slot_count - 1);
        return &holdings->slots[index];
}

static int grow_locked(struct holdings *holdings, size_t wanted) {
        size_t slot_count = holdings->slot_count ? holdings->slot_count : SLOTS_MIN;
        while (slot_count / 2 < wanted)
                slot_count *= 2;
        if (slot_count == holdings->slot_count)
                return 0;
        struct holding *slots = calloc(slot_count, sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        struct holding *old = holdings->slots;
        size_t old_count = holdings->slot_count;
        holdings->slots = slots;
        holdings->slot_count = slot_count;
        for (size_t i = 0; i < old_count; i++)
                if (old[i].count != 0)
                        *find_slot(holdings, old[i].offset) = old[i];
        free(old);
        return 0;
}

void holdings_lock(struct holdings *holdings) {
        pthread_mutex_lock(&holdings->lock);
}

void holdings_unlock(struct holdings *holdings) {
        pthread_mutex_unlock(&holdings->lock);
}

int holdings_reserve(struct holdings *holdings, size_t count) {
        pthread_mutex_lock(&holdings->lock);
        int rc = grow_locked(holdings, holdings->used + holdings->reserved + count);
        if (rc == 0)
                holdings->reserved += count;
        pthread_mutex_unlock(&holdings->lock);
        return rc;
}

void holdings_unreserve(struct holdings *holdings, size_t count) {
        pthread_mutex_lock(&holdings->lock);
        holdings->reserved -= count;
        pthread_mutex_unlock(&holdings->lock);
}

static bool same_range(const struct holding *slot, const struct holding *range) {
        return slot->count != 0 && slot->length == range->length &&
               slot->generation == range->generation;
}

static int add_hold(struct holdings *holdings, const struct holding *range) {
        struct holding *slot = find_slot(holdings, range->offset);
        if (slot->count == 0) {
                *slot = *range;
                slot->count = 1;
                holdings->used++;
        } else if (same_range(slot, range)) {
                slot->count++;
                if (range->use > slot->use)
                        slot->use = range->use;
        } else {
                return -EEXIST;
        }
        holdings->holds++;
        return 0;
}

int holdings_add_locked(struct holdings *holdings, const struct holding *range) {
        int rc = add_hold(holdings, range);
        if (rc == 0)
                holdings->reserved--;
        return rc;
}

/* Empties a slot and moves back what would no longer be found behind the gap. */
static void empty_slot(struct holdings *holdings, size_t gap) {
        size_t mask = holdings->slot_count - 1;
        for (size_t i = (gap + 1) & mask; holdings->slots[i].count != 0; i = (i + 1) & mask) {
                size_t home = home_slot(holdings, holdings->slots[i].offset);
                if (((i - home) & mask) >= ((i - gap) & mask)) {
                        holdings->slots[gap] = holdings->slots[i];
                        gap = i;
                }
        }
        holdings->slots[gap].count = 0;
}

int holdings_drop_locked(struct holdings *holdings, const struct holding *range) {
        if (holdings->slot_count == 0)
                return -ENOENT;
        struct holding *slot = find_slot(holdings, range->offset);
        if (!same_range(slot, range))
                return -ENOENT;
        holdings->holds--;
        if (slot->count > 1) {
                slot->count--;
        } else {
                empty_slot(holdings, (size_t)(slot - holdings->slots));
                holdings->used--;
        }
        return 0;
}

int holdings_cover(
        struct holdings *holdings, const struct holding *ranges, size_t count, size_t *bad) {
        pthread_mutex_lock(&holdings->lock);
        int rc = 0;
        size_t dropped = 0;
        while (dropped < count && (rc = holdings_drop_locked(holdings, &ranges[dropped])) == 0)
                dropped++;
        if (rc < 0)
                *bad = dropped;
        while (dropped > 0)
                add_hold(holdings, &ranges[--dropped]);
        pthread_mutex_unlock(&holdings->lock);
        return rc;
}

bool holdings_name_is_right(struct holdings *holdings, const struct holding *range) {
        if (range->use == 0)
                return true;
        pthread_mutex_lock(&holdings->lock);
        const struct holding *slot =
                holdings->slot_count > 0 ? find_slot(holdings, range->offset) : NULL;
        bool right = !slot || !same_range(slot, range) || range->use == slot->use ||
                     slot->use == HOLDING_ANY_USE;
        pthread_mutex_unlock(&holdings->lock);
        return right;
}

size_t holdings_count(struct holdings *holdings) {
        pthread_mutex_lock(&holdings->lock);
        size_t used = holdings->used;
        pthread_mutex_unlock(&holdings->lock);
        return used;
}

uint64_t holdings_holds(struct holdings *holdings) {
        pthread_mutex_lock(&holdings->lock);
        uint64_t holds = holdings->holds;
        pthread_mutex_unlock(&holdings->lock);
        return holds;
}
