/* The courier thread: one turn per event, all work of a turn under one lock. */
#include "courier.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pool.h"
#include "record.h"

#define RETURN_BATCH 4096 /* ranges that one request may return */

enum { POLL_WAKE, POLL_CONTROL, POLL_SETTLED, POLL_SLOTS };

static void courier_break(const char *what, int error) {
        fprintf(stderr, "pipeline: %s: %s\n", what, error ? strerror(-error) : "it is gone");
        _exit(EXIT_BROKEN);
}

/* ---- In ---- */

static void take_workers(struct courier *courier) {
        for (;;) {
                struct control_record record;
                int fd;
                ssize_t length = record_receive_fd(courier->control, &record, sizeof(record), &fd);
                if (length == -EAGAIN)
                        return;
                if (length != sizeof(record) || record.slot >= courier->flight->slot_count)
                        courier_break("the supervisor does not answer", 0);
                struct slot *slot = &courier->flight->slots[record.slot];
                if (slot->fd >= 0) /* its successor is here before the end of its socket was seen */
                        flight_worker_lost_locked(courier->flight, slot);
                slot->fd = fd;
        }
}

static void take_settled(struct courier *courier) {
        for (;;) {
                struct settled_record record;
                ssize_t length = record_receive(courier->settled, &record, sizeof(record), false);
                if (length == -EAGAIN)
                        return;
                if (length != sizeof(record))
                        courier_break("the writer does not answer", 0);
                courier->answers++;
                flight_settled_locked(courier->flight, &record);
        }
}

static void take_arrival(struct courier *courier, unsigned index) {
        struct slot *slot = &courier->flight->slots[index];
        while (slot->fd >= 0) {
                struct arrival_record record;
                ssize_t length = record_receive(slot->fd, &record, sizeof(record), false);
                if (length == -EAGAIN)
                        return;
                if (length == sizeof(record))
                        slot->peer = record.peer;
                else
                        flight_worker_lost_locked(courier->flight, slot);
        }
}

/* ---- Out ---- */

/* Makes the next pieces the worker's. False: there are none, or no worker any more. */
static bool give_pieces(struct courier *courier, struct slot *slot) {
        struct buddyclient_range ranges[GIVE_BATCH];
        size_t count, pieces = flight_gather_locked(slot, ranges, &count);
        int result = 0;
        if (count)
                result = buddyclient_give_many(courier->client, ranges, count, slot->peer);
        if (result && result != -ENOENT) {
                pool_complain("cannot give ranges to a worker", courier->client, result);
                _exit(EXIT_BROKEN);
        }
        if (result)
                flight_worker_lost_locked(courier->flight, slot);
        else
                flight_given_locked(slot, pieces, ranges);
        return !result && pieces;
}

/* Gives and sends all that the slot's worker has room for. */
static void serve_slot(struct courier *courier, struct slot *slot) {
        do {
                if (flight_send_locked(slot)) {
                        flight_worker_lost_locked(courier->flight, slot);
                        return;
                }
        } while (!slot->blocked && give_pieces(courier, slot));
}

static void hand_out(struct courier *courier) {
        struct slot *slot;
        while ((slot = flight_choose_locked(courier->flight)))
                flight_assign_locked(courier->flight, slot);
        for (unsigned i = 0; i < courier->flight->slot_count; i++)
                if (courier->flight->slots[i].peer)
                        serve_slot(courier, &courier->flight->slots[i]);
}

static void return_ranges(struct courier *courier) {
        size_t count;
        struct buddyclient_range *ranges = flight_take_returns(courier->flight, &count);
        if (!ranges)
                return;
        for (size_t done = 0; done < count;) {
                size_t batch = count - done < RETURN_BATCH ? count - done : RETURN_BATCH;
                int result = buddyclient_release_many(courier->client, ranges + done, batch);
                if (result) {
                        pool_complain("cannot return ranges", courier->client, result);
                        _exit(EXIT_BROKEN);
                }
                done += batch;
        }
        free(ranges);
        flight_returned(courier->flight);
}

/* ---- Drill and picture ---- */

/* The drill's victim: the worker with a piece of a large file in hand, else the one with most to lose. */
static struct slot *victim_choose(struct flight *flight) {
        struct slot *best = NULL;
        for (unsigned i = 0; i < flight->slot_count; i++) {
                struct slot *slot = &flight->slots[i];
                struct file *file = TAILQ_FIRST(&slot->files);
                if (!slot->peer || !file)
                        continue;
                if (file->consumed_bytes)
                        return slot;
                if (!best || slot->held_bytes > best->held_bytes)
                        best = slot;
        }
        return best;
}

static void drill(struct courier *courier) {
        if (!courier->drill || courier->answers < courier->drill_after)
                return;
        struct slot *victim = victim_choose(courier->flight);
        if (!victim)
                return; /* nobody has anything to lose yet */
        struct control_record record = {
                .kind = CONTROL_DRILL, .slot = (unsigned)(victim - courier->flight->slots)};
        int result = record_send(courier->control, &record, sizeof(record), NULL, true);
        if (result)
                courier_break("cannot reach the supervisor", result);
        courier->drill = false;
}

static void show(struct courier *courier) {
        struct flight *flight = courier->flight;
        uint64_t done = flight->report.bytes;
        for (unsigned i = 0; i < flight->slot_count; i++) {
                struct file *file;
                TAILQ_FOREACH(file, &flight->slots[i].files, link)
                done += file->consumed_bytes;
        }
        picture_show(&flight->picture, done, flight->held_bytes);
}

/* ---- The thread ---- */

static void wait_for_event(struct courier *courier, struct pollfd *polled) {
        struct flight *flight = courier->flight;
        polled[POLL_WAKE] = (struct pollfd){.fd = flight->wake_fd, .events = POLLIN};
        polled[POLL_CONTROL] = (struct pollfd){.fd = courier->control, .events = POLLIN};
        polled[POLL_SETTLED] = (struct pollfd){.fd = courier->settled, .events = POLLIN};
        for (unsigned i = 0; i < flight->slot_count; i++) {
                const struct slot *slot = &flight->slots[i];
                short events = slot->blocked ? POLLIN | POLLOUT : POLLIN;
                polled[POLL_SLOTS + i] = (struct pollfd){.fd = slot->fd, .events = events};
        }
        if (poll(polled, POLL_SLOTS + flight->slot_count, picture_interval_ms(&flight->picture)) <
                0)
                courier_break("cannot wait for events", -errno);
}

static void turn(struct courier *courier, const struct pollfd *polled) {
        struct flight *flight = courier->flight;
        if (polled[POLL_WAKE].revents)
                flight_slept(flight);
        pthread_mutex_lock(&flight->lock);
        if (polled[POLL_SETTLED].revents)
                take_settled(courier);
        for (unsigned i = 0; i < flight->slot_count; i++)
                if (polled[POLL_SLOTS + i].revents)
                        take_arrival(courier, i);
        if (polled[POLL_CONTROL].revents)
                take_workers(courier);
        hand_out(courier);
        drill(courier);
        show(courier);
        pthread_mutex_unlock(&flight->lock);
        return_ranges(courier);
}

static void *courier_main(void *context) {
        struct courier *courier = context;
        struct flight *flight = courier->flight;
        bool finished = false;
        while (!finished) {
                struct pollfd polled[POLL_SLOTS + WORKERS_MAX];
                wait_for_event(courier, polled);
                turn(courier, polled);
                pthread_mutex_lock(&flight->lock);
                finished = flight->finished && !flight->return_count;
                pthread_mutex_unlock(&flight->lock);
        }
        picture_clear(&flight->picture);
        return NULL;
}

int courier_start(struct courier *courier) {
        return -pthread_create(&courier->thread, NULL, courier_main, courier);
}

void courier_finish(struct courier *courier) {
        pthread_mutex_lock(&courier->flight->lock);
        courier->flight->finished = true;
        pthread_mutex_unlock(&courier->flight->lock);
        flight_wake(courier->flight);
        pthread_join(courier->thread, NULL);
}

int courier_report(int control, const struct report *report) {
        struct control_record record = {.kind = CONTROL_REPORT, .report = *report};
        int result = record_send(control, &record, sizeof(record), NULL, true);
        if (result)
                fprintf(stderr, "pipeline: cannot reach the supervisor: %s\n", strerror(-result));
        return result;
}
