/* The filler's side of the files in flight, and what both sides need. */
#include "flight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "flight_internal.h"

#define ON_ITS_WAY_US 5000000 /* time for what counts as held no more to be free in fact */

int flight_init(struct flight *flight, unsigned slot_count) {
        memset(flight, 0, sizeof(*flight));
        flight->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (flight->wake_fd < 0)
                return -errno;
        pthread_mutex_init(&flight->lock, NULL);
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&flight->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        TAILQ_INIT(&flight->ready);
        TAILQ_INIT(&flight->again);
        flight->slot_count = slot_count;
        for (unsigned i = 0; i < slot_count; i++) {
                flight->slots[i].fd = -1;
                TAILQ_INIT(&flight->slots[i].files);
                TAILQ_INIT(&flight->slots[i].outbox);
        }
        return 0;
}

void flight_deinit(struct flight *flight) {
        for (unsigned i = 0; i < flight->slot_count; i++)
                flight_hang_up(&flight->slots[i]);
        free(flight->returns);
        close(flight->wake_fd);
        pthread_cond_destroy(&flight->changed);
        pthread_mutex_destroy(&flight->lock);
}

void flight_wake(struct flight *flight) {
        if (atomic_exchange(&flight->woken, true))
                return;
        uint64_t one = 1;
        ssize_t written = write(flight->wake_fd, &one, sizeof(one));
        (void)written; /* full: the courier is awake anyway */
}

void flight_slept(struct flight *flight) {
        uint64_t wakes;
        ssize_t got = read(flight->wake_fd, &wakes, sizeof(wakes));
        (void)got; /* none: it was something else that happened */
        atomic_store(&flight->woken, false);
}

/* ---- Memory ---- */

void *flight_memory(void *memory) {
        if (!memory) {
                fprintf(stderr, "pipeline: out of memory\n");
                _exit(EXIT_BROKEN);
        }
        return memory;
}

static void return_range_locked(struct flight *flight, const struct buddyclient_range *range) {
        if (!range->length)
                return;
        if (flight->return_count == flight->return_space) {
                flight->return_space = flight->return_space ? flight->return_space * 2 : 256;
                flight->returns = flight_memory(reallocarray(
                        flight->returns, flight->return_space, sizeof(*flight->returns)));
        }
        flight->returns[flight->return_count++] = *range;
}

static void return_piece_locked(struct flight *flight, struct piece *piece) {
        return_range_locked(flight, &piece->range);
        free(piece);
}

static void piece_remove_locked(
        struct flight *flight, struct file *file, struct piece_list *list, struct piece *piece) {
        TAILQ_REMOVE(list, piece, link);
        file->held_bytes -= piece->range.length;
        if (file->place == PLACE_WORKER)
                flight->slots[file->slot].held_bytes -= piece->range.length;
}

void flight_write_off_locked(struct flight *flight, struct file *file) {
        struct piece *piece = TAILQ_FIRST(&file->given);
        piece_remove_locked(flight, file, &file->given, piece);
        flight->held_bytes -= piece->range.length;
        flight->left_us = report_clock_us();
        picture_mark(&flight->picture, &piece->range, false);
        free(piece);
}

void flight_leave_pieces_locked(struct flight *flight, struct file *file) {
        struct piece *piece;
        while ((piece = TAILQ_FIRST(&file->pieces))) {
                piece_remove_locked(flight, file, &file->pieces, piece);
                return_piece_locked(flight, piece);
        }
        while (!TAILQ_EMPTY(&file->given))
                flight_write_off_locked(flight, file);
}

void flight_end_locked(struct flight *flight, struct file *file) {
        flight_leave_pieces_locked(flight, file);
        flight_place_locked(flight, file, PLACE_NOWHERE, 0);
        flight->in_flight--;
        free(file->path);
        free(file);
        pthread_cond_broadcast(&flight->changed);
}

/* ---- Places ---- */

static struct file_list *place_list(struct flight *flight, const struct file *file) {
        switch (file->place) {
        case PLACE_READY:
                return &flight->ready;
        case PLACE_WORKER:
                return &flight->slots[file->slot].files;
        case PLACE_AGAIN:
                return &flight->again;
        case PLACE_NOWHERE:
                break;
        }
        return NULL;
}

void flight_place_locked(
        struct flight *flight, struct file *file, enum file_place place, unsigned slot) {
        struct file_list *list = place_list(flight, file);
        if (list)
                TAILQ_REMOVE(list, file, link);
        if (file->place == PLACE_WORKER) {
                flight->slots[file->slot].file_count--;
                flight->slots[file->slot].held_bytes -= file->held_bytes;
        }
        file->place = place;
        file->slot = slot;
        list = place_list(flight, file);
        if (list)
                TAILQ_INSERT_TAIL(list, file, link);
        if (place == PLACE_WORKER) {
                flight->slots[slot].file_count++;
                flight->slots[slot].held_bytes += file->held_bytes;
        }
}

/* ---- The filler's calls ---- */

struct file *flight_begin(struct flight *flight, uint64_t number, const char *path) {
        struct file *file = flight_memory(calloc(1, sizeof(*file)));
        file->number = number;
        file->path = flight_memory(strdup(path));
        file->open = true;
        TAILQ_INIT(&file->pieces);
        TAILQ_INIT(&file->given);
        pthread_mutex_lock(&flight->lock);
        flight->in_flight++;
        pthread_mutex_unlock(&flight->lock);
        return file;
}

struct piece *flight_piece_new(void) {
        return flight_memory(calloc(1, sizeof(struct piece)));
}

void flight_hold(struct flight *flight, const struct buddyclient_range *range) {
        pthread_mutex_lock(&flight->lock);
        flight->held_bytes += range->length;
        uint64_t held_bytes = flight->held_bytes;
        if (held_bytes > flight->picture.pool_bytes) /* a worker's death is not known here yet */
                held_bytes = flight->picture.pool_bytes;
        if (held_bytes > flight->report.peak_bytes)
                flight->report.peak_bytes = held_bytes;
        flight->report.ranges++;
        picture_mark(&flight->picture, range, true);
        pthread_mutex_unlock(&flight->lock);
}

static void add_locked(struct flight *flight, struct file *file, struct piece *piece) {
        TAILQ_INSERT_TAIL(&file->pieces, piece, link);
        file->held_bytes += piece->range.length;
        if (file->place == PLACE_WORKER)
                flight->slots[file->slot].held_bytes += piece->range.length;
        else if (file->place == PLACE_NOWHERE)
                flight_place_locked(flight, file, PLACE_READY, 0);
        if (piece->last) {
                file->complete = true;
                file->open = false;
        }
}

enum flight_verdict flight_add(struct flight *flight, struct file *file, struct piece *piece) {
        enum flight_verdict verdict = FLIGHT_ADDED;
        pthread_mutex_lock(&flight->lock);
        if (file->over) {
                verdict = FLIGHT_OVER;
                flight_end_locked(flight, file);
                return_piece_locked(flight, piece);
        } else if (file->restart) {
                verdict = FLIGHT_RESTART;
                file->restart = false;
                return_piece_locked(flight, piece);
        } else {
                add_locked(flight, file, piece);
        }
        pthread_mutex_unlock(&flight->lock);
        flight_wake(flight);
        return verdict;
}

void flight_drop(struct flight *flight, struct file *file, struct piece *piece) {
        pthread_mutex_lock(&flight->lock);
        if (piece)
                return_piece_locked(flight, piece);
        if (!file->over)
                flight->report.unreadable++;
        if (file->over || file->place == PLACE_NOWHERE) {
                flight_end_locked(flight, file);
        } else {
                struct piece *end = flight_piece_new();
                end->last = true;
                file->dropped = true;
                add_locked(flight, file, end);
        }
        pthread_mutex_unlock(&flight->lock);
        flight_wake(flight);
}

static void wait_a_second_locked(struct flight *flight) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&flight->changed, &flight->lock, &until);
}

bool flight_wait_return(struct flight *flight) {
        pthread_mutex_lock(&flight->lock);
        bool holding =
                flight->held_bytes > 0 || report_clock_us() - flight->left_us < ON_ITS_WAY_US;
        if (holding)
                wait_a_second_locked(flight);
        pthread_mutex_unlock(&flight->lock);
        return holding;
}

struct file *flight_next_again(struct flight *flight, bool to_the_end) {
        pthread_mutex_lock(&flight->lock);
        while (to_the_end && flight->in_flight && TAILQ_EMPTY(&flight->again))
                wait_a_second_locked(flight);
        struct file *file = TAILQ_FIRST(&flight->again);
        if (file) {
                flight_place_locked(flight, file, PLACE_NOWHERE, 0);
                file->open = true;
        }
        pthread_mutex_unlock(&flight->lock);
        return file;
}
