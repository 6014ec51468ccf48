#include "fault_worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fault_marks.h"

#define PAGE      UINT64_C(4096)
#define HELD_MAX  32
#define BATCH_MAX 8

const char *const fault_call_names[CALL_COUNT] = {"alloc", "alloc_wait", "alloc_many", "release",
        "release_many", "attach", "give", "give_many", "publish", "lookup", "unpublish", "find",
        "stats"};

struct held {
        struct buddyclient_range range;
        uint64_t serial;
};

/* What goes through an inbox: less than PIPE_BUF, so never in part. */
struct parcel {
        struct held held;
        uint64_t to; /* whom it was given to: its process may be gone */
};

struct thread {
        pthread_t thread;
        unsigned number, seed;
        uint64_t grants;
        struct held held[HELD_MAX];
        size_t count;
        uint64_t begin_us; /* of the call under way */
        unsigned stops;    /* of this process, when it began */
};

static struct fault_board *board;
static struct fault_slot *slot;
static unsigned slot_number;
static struct buddyclient *client;
static struct thread threads[THREADS];

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void fail(const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        if (atomic_fetch_add(&board->failures, 1) == 0)
                vsnprintf(board->failure, sizeof board->failure, format, arguments);
        va_end(arguments);
        _exit(3);
}

static unsigned chance(struct thread *thread, unsigned below) {
        return (unsigned)rand_r(&thread->seed) % below;
}

/* ---- Calls ---- */

static void call_begin(struct thread *thread) {
        thread->stops = atomic_load(&slot->stops);
        thread->begin_us = now_us();
}

static void longest_note(uint64_t took_us) {
        uint64_t longest = atomic_load(&board->longest_us);
        while (took_us > longest &&
                !atomic_compare_exchange_weak(&board->longest_us, &longest, took_us))
                ;
}

/* The call's result, which is 0, or the one error that it may have. */
static int call_end(struct thread *thread, enum fault_call call, int result, int allowed) {
        bool stopped = atomic_load(&slot->stops) != thread->stops;
        atomic_fetch_add(&board->calls[call], 1);
        if (!stopped && call != CALL_ALLOC_WAIT && slot_number != IMPATIENT)
                longest_note(now_us() - thread->begin_us);
        if (result == -ENOMEM || result == -ETIMEDOUT)
                atomic_fetch_add(&board->full, 1);
        if (result == 0 || result == allowed)
                return result;
        if (result == -ENOTCONN && (stopped || slot_number == IMPATIENT)) {
                atomic_fetch_add(&board->cut_off, 1);
                return result;
        }
        fail("worker %u.%u (client %u): %s answered %d (%s) after %lu us: %s", slot_number,
                thread->number, buddyclient_id(client), fault_call_names[call], result,
                buddyclient_strerror(result), (unsigned long)(now_us() - thread->begin_us),
                buddyclient_detail(client));
}

/* ---- What a thread holds ---- */

static void check(struct thread *thread, const struct held *held, const char *when) {
        uint64_t page = 0, found = 0;
        atomic_fetch_add(&board->pages_checked, held->range.length / PAGE);
        if (marks_hold(client, &held->range, held->serial, &page, &found))
                return;
        fail("worker %u.%u (client %u): broken mark %s: page %lu of range %lu+%lu generation %lu "
             "bears %016lx instead of %016lx",
                slot_number, thread->number, buddyclient_id(client), when, (unsigned long)page,
                (unsigned long)held->range.offset, (unsigned long)held->range.length,
                (unsigned long)held->range.generation, (unsigned long)found,
                (unsigned long)held->serial);
}

static void keep(struct thread *thread, struct buddyclient_range range, uint64_t serial) {
        thread->held[thread->count++] = (struct held){range, serial};
}

static void mark_and_keep(struct thread *thread, struct buddyclient_range range) {
        uint64_t who = (uint64_t)slot->incarnation * WORKERS * THREADS + slot_number * THREADS +
                       thread->number;
        uint64_t serial = (who + 1) << 36 | ++thread->grants;
        marks_write(client, &range, serial);
        keep(thread, range, serial);
}

static void release(struct thread *thread, const struct held *held) {
        check(thread, held, "before release");
        call_begin(thread);
        call_end(thread, CALL_RELEASE, buddyclient_release(client, &held->range), 0);
}

/* Takes one of the thread's holds out of its list. */
static struct held drawn(struct thread *thread) {
        unsigned which = chance(thread, (unsigned)thread->count);
        struct held held = thread->held[which];
        thread->held[which] = thread->held[--thread->count];
        return held;
}

static void release_one(struct thread *thread) {
        if (thread->count == 0)
                return;
        struct held held = drawn(thread);
        release(thread, &held);
}

static void release_many(struct thread *thread) {
        struct buddyclient_range ranges[BATCH_MAX];
        size_t count = 0, wanted = 2 + chance(thread, BATCH_MAX - 1);
        while (count < wanted && thread->count > 0) {
                struct held held = drawn(thread);
                check(thread, &held, "before release_many");
                ranges[count++] = held.range;
        }
        call_begin(thread);
        call_end(thread, CALL_RELEASE_MANY, buddyclient_release_many(client, ranges, count), 0);
}

/* ---- Taking ---- */

static void take_one(struct thread *thread) {
        struct buddyclient_range range;
        uint64_t length = PAGE << chance(thread, 5);
        call_begin(thread);
        if (call_end(thread, CALL_ALLOC, buddyclient_alloc(client, length, &range), -ENOMEM) == 0)
                mark_and_keep(thread, range);
}

static void take_waiting(struct thread *thread) {
        struct buddyclient_range range;
        uint64_t length = PAGE << chance(thread, 7);
        call_begin(thread);
        int result = buddyclient_alloc_wait(client, length, WAIT_MS, &range);
        if (call_end(thread, CALL_ALLOC_WAIT, result, -ETIMEDOUT) == 0)
                mark_and_keep(thread, range);
}

static void take_many(struct thread *thread) {
        struct buddyclient_range ranges[BATCH_MAX];
        size_t count = 1 + chance(thread, BATCH_MAX);
        call_begin(thread);
        int result = buddyclient_alloc_many(client, PAGE << chance(thread, 2), count, ranges);
        if (call_end(thread, CALL_ALLOC_MANY, result, -ENOMEM) != 0)
                return;
        for (size_t each = 0; each < count; each++)
                mark_and_keep(thread, ranges[each]);
}

/* ---- Sharing ---- */

static void offer_write(struct thread *thread) {
        struct fault_offer *offer = &slot->offers[thread->number];
        if (thread->count == 0)
                return;
        struct held *held = &thread->held[chance(thread, (unsigned)thread->count)];
        unsigned sequence = atomic_load(&offer->sequence) | 1;
        atomic_store(&offer->sequence, sequence);
        atomic_thread_fence(memory_order_seq_cst);
        offer->range = held->range;
        offer->serial = held->serial;
        atomic_store(&offer->sequence, sequence + 1);
}

static void attach(struct thread *thread) {
        struct fault_offer *offer =
                &board->slots[chance(thread, WORKERS)].offers[chance(thread, THREADS)];
        unsigned sequence = atomic_load(&offer->sequence);
        struct held held = {offer->range, offer->serial};
        atomic_thread_fence(memory_order_seq_cst);
        if (sequence == 0 || sequence % 2 || atomic_load(&offer->sequence) != sequence)
                return;
        call_begin(thread);
        int result = buddyclient_attach(client, &held.range);
        if (call_end(thread, CALL_ATTACH, result, -ESTALE) != 0)
                return;
        check(thread, &held, "after attach");
        keep(thread, held.range, held.serial);
}

static void key_name(struct thread *thread, char key[16]) {
        snprintf(key, 16, "key %u", chance(thread, KEYS));
}

static void publish(struct thread *thread) {
        char key[16];
        if (thread->count == 0)
                return;
        struct held *held = &thread->held[chance(thread, (unsigned)thread->count)];
        key_name(thread, key);
        call_begin(thread);
        call_end(thread, CALL_PUBLISH, buddyclient_publish(client, key, &held->range), 0);
        check(thread, held, "after publish");
}

static void lookup(struct thread *thread) {
        char key[16];
        struct held held;
        key_name(thread, key);
        call_begin(thread);
        int result = buddyclient_lookup(client, key, &held.range);
        if (call_end(thread, CALL_LOOKUP, result, -ENOENT) != 0)
                return;
        held.serial = marks_serial(client, &held.range);
        check(thread, &held, "after lookup");
        keep(thread, held.range, held.serial);
}

static void unpublish(struct thread *thread) {
        char key[16];
        key_name(thread, key);
        call_begin(thread);
        call_end(thread, CALL_UNPUBLISH, buddyclient_unpublish(client, key), -ENOENT);
}

/* ---- Handing over ---- */

/* Whoever gets it stopped may take long to read it; whoever is gone has returned it. */
static void parcel_send(struct fault_slot *to, const struct parcel *parcel) {
        while (write(to->inbox[1], parcel, sizeof *parcel) < 0) {
                if (errno != EAGAIN && errno != EINTR)
                        fail("inbox: error %d", errno);
                if (atomic_load(&to->who) != parcel->to || atomic_load(&board->failures))
                        return;
                pause_us(1000);
        }
        atomic_fetch_add(&board->parcels, 1);
}

static void give(struct thread *thread) {
        struct fault_slot *to = &board->slots[chance(thread, WORKERS)];
        struct buddyclient_range ranges[BATCH_MAX];
        struct held given[BATCH_MAX];
        size_t count = 0, wanted = chance(thread, 2) ? 1 : 1 + chance(thread, BATCH_MAX);
        uint64_t who = atomic_load(&to->who);
        uint32_t peer = (uint32_t)who;
        if (to == slot || who == 0)
                return;
        while (count < wanted && thread->count > 0) {
                given[count] = drawn(thread);
                check(thread, &given[count], "before give");
                ranges[count] = given[count].range;
                count++;
        }
        if (count == 0)
                return;
        call_begin(thread);
        int result = count == 1 ? buddyclient_give(client, ranges, peer)
                                : buddyclient_give_many(client, ranges, count, peer);
        result = call_end(thread, count == 1 ? CALL_GIVE : CALL_GIVE_MANY, result, -ENOENT);
        for (size_t each = 0; each < count; each++) {
                struct parcel parcel = {{ranges[each], given[each].serial}, who};
                if (result == 0)
                        parcel_send(to, &parcel);
                else if (result == -ENOENT)
                        keep(thread, given[each].range, given[each].serial);
        }
}

static void inbox_take(struct thread *thread) {
        struct parcel parcel;
        while (read(slot->inbox[0], &parcel, sizeof parcel) == sizeof parcel) {
                if (parcel.to != atomic_load(&slot->who))
                        continue; /* to who had this place before */
                check(thread, &parcel.held, "of a gift");
                if (thread->count + BATCH_MAX < HELD_MAX)
                        keep(thread, parcel.held.range, parcel.held.serial);
                else
                        release(thread, &parcel.held);
        }
}

/* ---- Looking ---- */

static void look(struct thread *thread) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        uint32_t peer;
        char name[24];
        call_begin(thread);
        if (call_end(thread, CALL_STATS, buddyclient_stats(client, &stats), 0) == 0 &&
                stats.held_bytes + stats.cached_bytes + stats.free_bytes != stats.size_bytes)
                fail("stats: held %lu + cached %lu + free %lu != size %lu",
                        (unsigned long)stats.held_bytes, (unsigned long)stats.cached_bytes,
                        (unsigned long)stats.free_bytes, (unsigned long)stats.size_bytes);
        snprintf(name, sizeof name, "worker %u", chance(thread, WORKERS));
        call_begin(thread);
        call_end(thread, CALL_FIND, buddyclient_find(client, name, &peer), -ENOENT);
}

/* ---- The life of a worker ---- */

static void act(struct thread *thread) {
        static void (*const acts[])(struct thread *) = {take_one, take_one, take_one, take_waiting,
                take_many, release_one, release_one, release_one, release_many, attach, attach,
                offer_write, publish, lookup, unpublish, give, give, look};
        inbox_take(thread);
        bool crowded = thread->count + BATCH_MAX >= HELD_MAX;
        acts[crowded ? 5 : chance(thread, sizeof acts / sizeof *acts)](thread);
}

static void *thread_run(void *argument) {
        struct thread *thread = argument;
        while (!atomic_load(&slot->leave) && atomic_load(&board->phase) == PHASE_LOAD)
                act(thread);
        if (!atomic_load(&slot->leave))
                atomic_fetch_add(&slot->quiet, 1);
        while (!atomic_load(&slot->leave) && atomic_load(&board->phase) != PHASE_RETURN) {
                inbox_take(thread);
                pause_us(1000);
        }
        if (!atomic_load(&slot->leave))
                inbox_take(thread);
        while (thread->count > 0)
                release_one(thread);
        return NULL;
}

static void connect_patiently(const struct fault_stage *stage) {
        char name[24];
        snprintf(name, sizeof name, "worker %u", slot_number);
        client = stage_client(stage, name, slot_number == IMPATIENT ? IMPATIENT_MS : PATIENCE_MS);
        if (!client)
                fail("no client");
        uint64_t deadline = now_us() + 30000000;
        int result;
        while ((result = buddyclient_connect(client)) == -ENOTCONN && now_us() < deadline)
                pause_us(1000);
        if (result != 0)
                fail("connect: %d (%s): %s", result, buddyclient_strerror(result),
                        buddyclient_detail(client));
}

void worker_run(const struct fault_stage *stage, struct fault_board *shared, unsigned number,
        unsigned seed) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        board = shared;
        slot_number = number;
        slot = &board->slots[number];
        connect_patiently(stage);
        atomic_store(&slot->who, (uint64_t)slot->incarnation << 32 | buddyclient_id(client));
        for (unsigned each = 0; each < THREADS; each++) {
                threads[each].number = each;
                threads[each].seed = seed * THREADS + each;
                if (pthread_create(&threads[each].thread, NULL, thread_run, &threads[each]) != 0)
                        fail("pthread_create");
        }
        for (unsigned each = 0; each < THREADS; each++)
                pthread_join(threads[each].thread, NULL);
        atomic_store(&slot->who, 0);
        buddyclient_destroy(client);
        _exit(0);
}
