/* See late.h. */
#include "late.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct owed *owed_new(size_t count) {
        struct owed *owed = calloc(1, sizeof(*owed));
        if (!owed)
                return NULL;
        owed->count = count;
        owed->places = calloc(count, sizeof(*owed->places));
        owed->generations = calloc(count, sizeof(*owed->generations));
        if (owed->places && owed->generations)
                return owed;
        owed_free(owed);
        return NULL;
}

void owed_free(struct owed *owed) {
        if (!owed)
                return;
        free(owed->places);
        free(owed->generations);
        free(owed);
}

struct message_ranges owed_ranges(const struct owed *owed) {
        return (struct message_ranges){owed->places, owed->generations, owed->count};
}

void late_owe(struct late *late, struct owed *owed) {
        owed->next = late->owed;
        late->owed = owed;
}

static struct owed *owed_copy(const struct message_ranges *ranges) {
        struct owed *owed = owed_new(ranges->count);
        if (!owed)
                return NULL;
        memcpy(owed->places, ranges->places, ranges->count * sizeof(*owed->places));
        memcpy(owed->generations, ranges->generations, ranges->count * sizeof(*owed->generations));
        return owed;
}

int late_owe_copy(struct late *late, const struct message_ranges *ranges, bool counted) {
        struct owed *owed = owed_copy(ranges);
        if (!owed)
                return -ENOMEM;
        owed->counted = counted;
        late_owe(late, owed);
        return 0;
}

struct owed *late_take_owed(struct late *late) {
        struct owed *owed = late->owed;
        if (owed)
                late->owed = owed->next;
        return owed;
}

static int make_room(struct late *late) {
        if (late->call_count < late->call_size)
                return 0;
        size_t size = late->call_size ? 2 * late->call_size : 16;
        struct abandoned *calls = realloc(late->calls, size * sizeof(*calls));
        if (!calls)
                return -ENOMEM;
        late->calls = calls;
        late->call_size = size;
        return 0;
}

int late_abandon(struct late *late, const struct request *request, const struct batch *batch) {
        struct owed *ranges = NULL;
        if (make_room(late) < 0)
                return -ENOMEM;
        if (batch && (request->kind == REQUEST_ATTACH || request->kind == REQUEST_GIVE)) {
                struct message_ranges named = batch_ranges(batch);
                ranges = owed_copy(&named);
                if (!ranges)
                        return -ENOMEM;
        }
        late->calls[late->call_count++] = (struct abandoned){request->id, request->kind, ranges};
        return 0;
}

bool late_take_call(struct late *late, uint64_t id, struct abandoned *out) {
        for (size_t i = 0; i < late->call_count; i++) {
                if (late->calls[i].id == id) {
                        *out = late->calls[i];
                        late->calls[i] = late->calls[--late->call_count];
                        return true;
                }
        }
        return false;
}

void late_start_over(struct late *late) {
        while (late->call_count > 0)
                owed_free(late->calls[--late->call_count].ranges);
        for (struct owed **link = &late->owed; *link;) {
                struct owed *owed = *link;
                if (owed->counted) {
                        link = &owed->next;
                        continue;
                }
                *link = owed->next;
                owed_free(owed);
        }
}

void late_deinit(struct late *late) {
        late_start_over(late);
        for (struct owed *owed; (owed = late_take_owed(late));)
                owed_free(owed);
        free(late->calls);
        *late = (struct late){0};
}
