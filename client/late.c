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

int late_reserve(struct late *late) {
        return make_room(late);
}

/* By id: an older request may be given up after a younger one. */
static void insert_call(struct late *late, struct abandoned call) {
        size_t at = late->call_count++;
        for (; at > 0 && late->calls[at - 1].id > call.id; at--)
                late->calls[at] = late->calls[at - 1];
        late->calls[at] = call;
}

static struct abandoned remove_call(struct late *late, size_t at) {
        struct abandoned call = late->calls[at];
        late->call_count--;
        memmove(&late->calls[at], &late->calls[at + 1],
                (late->call_count - at) * sizeof(*late->calls));
        return call;
}

int late_abandon(struct late *late, const struct request *request, const struct batch *batch) {
        struct owed *ranges = NULL;
        if (make_room(late) < 0)
                return -ENOMEM;
        if (batch) {
                struct message_ranges named = batch_ranges(batch);
                ranges = owed_copy(&named);
                if (!ranges)
                        return -ENOMEM;
        }
        insert_call(late,
                (struct abandoned){.id = request->id, .kind = request->kind, .ranges = ranges});
        return 0;
}

void late_note_one_way(struct late *late, uint64_t id, struct owed *ranges) {
        late->calls[late->call_count++] = (struct abandoned){
                .id = id, .kind = REQUEST_RELEASE, .one_way = true, .ranges = ranges};
}

void late_confirm(struct late *late, uint64_t id) {
        for (size_t i = 0; i < late->call_count && late->calls[i].id < id;) {
                if (late->calls[i].one_way)
                        owed_free(remove_call(late, i).ranges);
                else
                        i++;
        }
}

bool late_take_call(struct late *late, uint64_t id, struct abandoned *out) {
        for (size_t i = 0; i < late->call_count; i++) {
                if (late->calls[i].id == id && !late->calls[i].one_way) {
                        *out = remove_call(late, i);
                        return true;
                }
        }
        return false;
}

static size_t keep_calls(struct late *late, enum request_kind kind, bool keep) {
        for (size_t i = 0; i < late->call_count;) {
                if ((late->calls[i].kind == kind) != keep)
                        owed_free(remove_call(late, i).ranges);
                else
                        i++;
        }
        return late->call_count;
}

size_t late_forget_calls(struct late *late, enum request_kind kind) {
        return keep_calls(late, kind, false);
}

size_t late_keep_calls(struct late *late, enum request_kind kind) {
        return keep_calls(late, kind, true);
}

void late_deinit(struct late *late) {
        while (late->call_count > 0)
                owed_free(late->calls[--late->call_count].ranges);
        for (struct owed *owed; (owed = late_take_owed(late));)
                owed_free(owed);
        free(late->calls);
        *late = (struct late){0};
}
