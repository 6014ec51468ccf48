/* The courier's side of the files in flight. */
#include <stdlib.h>
#include <unistd.h>

#include "flight_internal.h"
#include "name.h"

#define SLOT_FILES_MAX 64        /* what a worker may have in hand: enough to be busy, … */
#define SLOT_BYTES_MAX (2 << 20) /* … little enough to share well and to lose */

static struct file *list_find(struct file_list *list, uint64_t number) {
        struct file *file;
        TAILQ_FOREACH(file, list, link) {
                if (file->number == number)
                        return file;
        }
        return NULL;
}

static struct file *file_find_locked(struct flight *flight, uint64_t number) {
        for (unsigned i = 0; i < flight->slot_count; i++) {
                struct file *file = list_find(&flight->slots[i].files, number);
                if (file)
                        return file;
        }
        struct file *file = list_find(&flight->ready, number);
        return file ? file : list_find(&flight->again, number);
}

void flight_consumed_locked(
        struct flight *flight, unsigned slot, uint64_t number, uint64_t pieces) {
        struct file *file = list_find(&flight->slots[slot].files, number);
        if (!file)
                return; /* settled by an earlier worker's result */
        struct piece *piece = TAILQ_FIRST(&file->pieces);
        for (uint64_t i = file->pieces_released; piece && i < pieces; i++) {
                if (i >= file->pieces_consumed)
                        file->consumed_bytes += piece->bytes;
                piece = TAILQ_NEXT(piece, link);
        }
        file->pieces_consumed = pieces;
        flight_release_consumed_locked(flight, file);
}

/* The courier is through with a file, but only the filler may free the one that it has open. */
static void leave_locked(struct flight *flight, struct file *file) {
        if (!file->open) {
                flight_end_locked(flight, file);
                return;
        }
        flight_release_all_locked(flight, file);
        flight_place_locked(flight, file, PLACE_NOWHERE, 0);
        file->over = true;
}

void flight_settled_locked(struct flight *flight, const struct settled_record *settled) {
        struct file *file = file_find_locked(flight, settled->file);
        if (!file)
                return; /* the writer has answered for it before */
        if (!settled->dropped) {
                flight->report.files++;
                flight->report.bytes += settled->bytes;
                flight->report.compressed_bytes += settled->compressed_bytes;
        }
        leave_locked(flight, file);
}

static void give_up_locked(struct flight *flight, struct file *file) {
        picture_clear(&flight->picture);
        fputs("pipeline: gave up ", stderr);
        name_put(stderr, file->path);
        fprintf(stderr, ": %d workers died over it\n", ATTEMPTS_MAX);
        flight->report.unreadable++;
        leave_locked(flight, file);
}

/* The bytes that were released are gone: from the start again. */
static void reread_locked(struct flight *flight, struct file *file) {
        flight->report.rereads++;
        flight_release_all_locked(flight, file);
        flight_place_locked(flight, file, file->open ? PLACE_NOWHERE : PLACE_AGAIN, 0);
        file->restart = file->open;
        file->complete = false;
        file->dropped = false;
        file->streamed = false;
        pthread_cond_broadcast(&flight->changed);
}

static void redo_locked(struct flight *flight, struct file *file) {
        flight->report.repeats++;
        file->consumed_bytes = 0;
        file->pieces_consumed = 0;
        if (file->pieces_released) {
                reread_locked(flight, file);
                return;
        }
        flight_place_locked(flight, file, PLACE_READY, 0);
        file->unsent = TAILQ_FIRST(&file->pieces);
        if (file->complete) { /* to the front, so that the open one stays behind all complete ones */
                TAILQ_REMOVE(&flight->ready, file, link);
                TAILQ_INSERT_HEAD(&flight->ready, file, link);
        }
}

void flight_worker_lost_locked(struct flight *flight, struct slot *slot) {
        close(slot->fd);
        slot->fd = -1;
        slot->blocked = false;
        struct file *in_hand = TAILQ_FIRST(&slot->files);
        if (in_hand && ++in_hand->attempts >= ATTEMPTS_MAX)
                give_up_locked(flight, in_hand);
        struct file *file;
        while ((file = TAILQ_LAST(&slot->files, file_list)))
                redo_locked(flight, file);
}

struct slot *flight_choose_locked(struct flight *flight) {
        if (TAILQ_EMPTY(&flight->ready))
                return NULL;
        struct slot *best = NULL;
        for (unsigned i = 0; i < flight->slot_count; i++) {
                struct slot *slot = &flight->slots[i];
                struct file *newest = TAILQ_LAST(&slot->files, file_list);
                bool waits_for_filler = newest && !newest->complete;
                if (slot->fd < 0 || waits_for_filler || slot->file_count >= SLOT_FILES_MAX ||
                        slot->held_bytes >= SLOT_BYTES_MAX)
                        continue;
                if (!best || slot->held_bytes < best->held_bytes)
                        best = slot;
        }
        return best;
}

void flight_assign_locked(struct flight *flight, struct slot *slot) {
        flight_place_locked(flight, TAILQ_FIRST(&flight->ready), PLACE_WORKER,
                (unsigned)(slot - flight->slots));
}

struct buddyclient_range *flight_take_returns(struct flight *flight, size_t *count) {
        pthread_mutex_lock(&flight->lock);
        struct buddyclient_range *ranges = flight->return_count ? flight->returns : NULL;
        if (ranges) {
                *count = flight->return_count;
                for (size_t i = 0; i < *count; i++) {
                        flight->held_bytes -= ranges[i].length;
                        picture_mark(&flight->picture, &ranges[i], false);
                }
                flight->returns = NULL;
                flight->return_count = flight->return_space = 0;
                flight->returning = true;
        }
        pthread_mutex_unlock(&flight->lock);
        return ranges;
}

void flight_returned(struct flight *flight) {
        pthread_mutex_lock(&flight->lock);
        flight->returning = false;
        pthread_cond_broadcast(&flight->changed);
        pthread_mutex_unlock(&flight->lock);
}
