/* The courier's side of the files in flight. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
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

/* The courier is through with a file, but only the filler may free the one that it has open. */
static void leave_locked(struct flight *flight, struct file *file) {
        if (!file->open) {
                flight_end_locked(flight, file);
                return;
        }
        flight_leave_pieces_locked(flight, file);
        flight_place_locked(flight, file, PLACE_NOWHERE, 0);
        file->over = true;
}

static void piece_settled_locked(struct flight *flight, struct file *file) {
        struct piece *piece = TAILQ_FIRST(&file->given);
        if (!piece)
                return;
        file->consumed_bytes += piece->bytes;
        flight_write_off_locked(flight, file);
        pthread_cond_broadcast(&flight->changed);
}

/* A file whose worker was lost may be answered for all the same, by what that worker had done before. */
void flight_settled_locked(struct flight *flight, const struct settled_record *settled) {
        struct file *file = file_find_locked(flight, settled->file);
        if (!file)
                return; /* the writer has answered for it before */
        if (settled->reading == file->reading)
                piece_settled_locked(flight, file);
        if (!settled->last || (settled->dropped && settled->reading != file->reading))
                return;
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

/* The bytes that were given away are gone: from the start again. */
static void reread_locked(struct flight *flight, struct file *file) {
        flight->report.rereads++;
        flight_leave_pieces_locked(flight, file);
        file->reading++;
        file->begun = false;
        flight_place_locked(flight, file, file->open ? PLACE_NOWHERE : PLACE_AGAIN, 0);
        file->restart = file->open;
        file->complete = false;
        file->dropped = false;
        pthread_cond_broadcast(&flight->changed);
}

static void redo_locked(struct flight *flight, struct file *file) {
        flight->report.repeats++;
        file->consumed_bytes = 0;
        if (file->begun) {
                reread_locked(flight, file);
                return;
        }
        flight_place_locked(flight, file, PLACE_READY, 0);
        if (file->complete) { /* to the front, so that the open one stays behind all complete ones */
                TAILQ_REMOVE(&flight->ready, file, link);
                TAILQ_INSERT_HEAD(&flight->ready, file, link);
        }
}

void flight_worker_lost_locked(struct flight *flight, struct slot *slot) {
        flight_hang_up(slot);
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
                if (!slot->peer || waits_for_filler || slot->file_count >= SLOT_FILES_MAX ||
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

/* ---- Giving ---- */

/* The one after it that its slot's worker has not been given: of this file, or of the files behind it. */
static const struct piece *next_piece(const struct file **file, const struct piece *piece) {
        piece = piece ? TAILQ_NEXT(piece, link) : TAILQ_FIRST(&(*file)->pieces);
        while (!piece && (*file = TAILQ_NEXT(*file, link)))
                piece = TAILQ_FIRST(&(*file)->pieces);
        return piece;
}

size_t flight_gather_locked(
        const struct slot *slot, struct buddyclient_range *ranges, size_t *range_count) {
        size_t pieces = 0, count = 0;
        const struct file *file = TAILQ_FIRST(&slot->files);
        const struct piece *piece = NULL;
        while (file && pieces < GIVE_BATCH && (piece = next_piece(&file, piece))) {
                if (piece->range.length)
                        ranges[count++] = piece->range;
                pieces++;
        }
        *range_count = count;
        return pieces;
}

static struct outgoing *outgoing_new(const struct file *file, const struct piece *piece) {
        struct outgoing *outgoing = flight_memory(calloc(1, sizeof(*outgoing)));
        outgoing->record = (struct piece_record){.file = file->number,
                .reading = file->reading,
                .range = piece->range,
                .bytes = piece->bytes,
                .first = !file->begun,
                .last = piece->last,
                .dropped = piece->last && file->dropped};
        outgoing->path = file->begun ? NULL : flight_memory(strdup(file->path));
        return outgoing;
}

void flight_given_locked(struct slot *slot, size_t pieces, const struct buddyclient_range *ranges) {
        struct file *file;
        TAILQ_FOREACH(file, &slot->files, link) {
                struct piece *piece;
                while (pieces && (piece = TAILQ_FIRST(&file->pieces))) {
                        if (piece->range.length)
                                piece->range = *ranges++;
                        struct outgoing *outgoing = outgoing_new(file, piece);
                        TAILQ_INSERT_TAIL(&slot->outbox, outgoing, link);
                        file->begun = true;
                        TAILQ_REMOVE(&file->pieces, piece, link);
                        TAILQ_INSERT_TAIL(&file->given, piece, link);
                        pieces--;
                }
        }
}

static void outgoing_drop(struct slot *slot, struct outgoing *outgoing) {
        TAILQ_REMOVE(&slot->outbox, outgoing, link);
        free(outgoing->path);
        free(outgoing);
}

int flight_send_locked(struct slot *slot) {
        struct outgoing *outgoing;
        while ((outgoing = TAILQ_FIRST(&slot->outbox))) {
                int result = record_send(slot->fd, &outgoing->record, sizeof(outgoing->record),
                        outgoing->path, false);
                slot->blocked = result == -EAGAIN;
                if (result)
                        return slot->blocked ? 0 : result;
                outgoing_drop(slot, outgoing);
        }
        return 0;
}

void flight_hang_up(struct slot *slot) {
        struct outgoing *outgoing;
        while ((outgoing = TAILQ_FIRST(&slot->outbox)))
                outgoing_drop(slot, outgoing);
        if (slot->fd >= 0)
                close(slot->fd);
        slot->fd = -1;
        slot->peer = 0;
        slot->blocked = false;
}

/* ---- Returning ---- */

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
                flight->left_us = report_clock_us();
        }
        pthread_mutex_unlock(&flight->lock);
        return ranges;
}

void flight_returned(struct flight *flight) {
        pthread_mutex_lock(&flight->lock);
        pthread_cond_broadcast(&flight->changed);
        pthread_mutex_unlock(&flight->lock);
}
