/* Calls that give up, and what is made up for behind them: what the table is told and when, what is remembered while something is being
 * sent, and answers that were there in time. Where a moment between two steps counts, the channel is taken by itself. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "client/channel_private.h"
#include "client/deadline.h"
#include "peer.h"

TestSuite(given_up, .timeout = 60);

#define PAGE       4096ull
#define TIMEOUT_MS 2000

static int64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- A channel by itself, to a peer that says nothing ---- */

struct stage {
        struct channel channel;
        int other; /* end of the connection */
        _Atomic size_t forgotten;
        _Atomic size_t unguarded; /* of those, without the channel's lock */
        atomic_bool returned;
};

static void count_forgotten(void *context, const struct message_ranges *ranges) {
        struct stage *stage = context;
        if (pthread_mutex_trylock(&stage->channel.lock) == 0) {
                pthread_mutex_unlock(&stage->channel.lock);
                atomic_fetch_add(&stage->unguarded, ranges->count);
        }
        atomic_fetch_add(&stage->forgotten, ranges->count);
}

static void stage_open(struct stage *stage) {
        int ends[2];
        struct stream stream;
        struct channel_keeper keeper = {.context = stage, .forget = count_forgotten};
        *stage = (struct stage){0};
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        stage->other = ends[1];
        cr_assert_eq(stream_init(&stream, ends[0]), 0);
        cr_assert_eq(channel_init(&stage->channel, &stream, 1000, &keeper), 0);
}

static void stage_close(struct stage *stage) {
        channel_deinit(&stage->channel, false);
        close(stage->other);
}

/* So that not one byte more can be sent. */
static void stage_fill(struct stage *stage) {
        static const char bytes[4096];
        for (size_t length = sizeof bytes; length > 0;)
                if (send(stage->channel.stream.fd, bytes, length, MSG_DONTWAIT) < 0)
                        length /= 2;
}

static void stage_drain(struct stage *stage) {
        char bytes[65536];
        while (recv(stage->other, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
                continue;
}

static int accept_nothing(void *context, const struct reply *reply) {
        (void)context;
        (void)reply;
        return -EPROTO;
}

static int call_with(struct stage *stage, enum request_kind kind, struct batch *batch) {
        struct request request = {.kind = kind};
        struct call call = {.accept = accept_nothing, .batch = batch, .timeout_ms = 20};
        return channel_call(&stage->channel, &request, &call);
}

/* The daemon may have done it and grant the block anew to another thread, whose reply may be read as soon as the lock is free: by
 * then the table must know. */
Test(given_up, a_release_is_forgotten_at_once) {
        struct stage stage;
        uint64_t places[] = {0, PAGE};
        uint32_t generations[] = {1, 1};
        struct batch batch = {.places = places, .generations = generations, .count = 2};
        stage_open(&stage);
        cr_assert_eq(call_with(&stage, REQUEST_RELEASE, &batch), -ENOTCONN);
        cr_assert_eq(stage.forgotten, 2);
        cr_assert_eq(stage.unguarded, 0);
        stage_close(&stage);
}

/* One that the daemon cannot have seen stays what it is until it is sent. */
Test(given_up, a_release_that_was_not_sent_is_not_forgotten_yet) {
        struct stage stage;
        uint64_t places[] = {0, PAGE};
        uint32_t generations[] = {1, 1};
        struct batch batch = {.places = places, .generations = generations, .count = 2};
        stage_open(&stage);
        stage_fill(&stage);
        cr_assert_eq(call_with(&stage, REQUEST_RELEASE, &batch), -ENOTCONN);
        cr_assert_eq(stage.forgotten, 0);
        channel_owe(&stage.channel, &batch);
        stage_drain(&stage);
        cr_assert_eq(call_with(&stage, REQUEST_PING, NULL), -ENOTCONN); /* sends it behind itself */
        cr_assert_eq(stage.forgotten, 2);
        cr_assert_eq(stage.unguarded, 0);
        cr_assert_null(stage.channel.late.owed);
        stage_close(&stage);
}

static void *return_owed(void *context) {
        struct stage *stage = context;
        pthread_mutex_lock(&stage->channel.lock);
        channel_return_owed(&stage->channel, deadline_after(1000));
        pthread_mutex_unlock(&stage->channel.lock);
        atomic_store(&stage->returned, true);
        return NULL;
}

/* As other calls that give up do, until there is no room left. */
static void take_all_room(struct late *late) {
        struct request request = {.kind = REQUEST_FIND};
        do {
                request.id++;
                cr_assert_eq(late_abandon(late, &request, NULL), 0);
        } while (late->call_count < late->call_size);
}

/* The lock is free while it is sent. False: it was not in time, and will be tried again. */
static bool return_with_others(struct stage *stage) {
        struct channel *channel = &stage->channel;
        pthread_t thread;
        bool sending = false;
        atomic_store(&stage->returned, false);
        cr_assert_eq(pthread_create(&thread, NULL, return_owed, stage), 0);
        while (!sending) {
                sched_yield();
                pthread_mutex_lock(&channel->lock);
                sending = channel->sending;
                if (sending) {
                        cr_assert_eq(stage->forgotten, 1, "the daemon may have it back already");
                        take_all_room(&channel->late);
                }
                pthread_mutex_unlock(&channel->lock);
        }
        while (!atomic_load(&stage->returned))
                stage_drain(stage);
        pthread_join(thread, NULL);
        return !channel->late.owed;
}

Test(given_up, calls_are_remembered_while_a_return_is_sent) {
        struct stage stage;
        uint64_t place = PAGE;
        uint32_t generation = 1;
        stage_open(&stage);
        cr_assert_eq(late_owe_copy(&stage.channel.late,
                             &(struct message_ranges){&place, &generation, 1}, true),
                0);
        do
                stage_fill(&stage);
        while (!return_with_others(&stage));
        const struct late *late = &stage.channel.late;
        cr_assert_leq(late->call_count, late->call_size);
        cr_assert(late->calls[late->call_count - 1].one_way);
        cr_assert_eq(stage.unguarded, 0);
        stage_close(&stage);
}

/* ---- Who finds its time over while the answer is there ---- */

#define ASKERS 4 /* the first reads, the others sleep */
/* After the deadlines. Who finds that out lingers for as long, but at most a second: by far longer than the machine may stand still. */
#define LATE_MS 1500

struct asker {
        struct stage *stage;
        struct request request;
        struct call call;
        pthread_t thread;
        int result;
};

static int accept_done(void *context, const struct reply *reply) {
        (void)context;
        return reply->kind == REPLY_DONE ? 0 : -EPROTO;
}

static void *ask_channel(void *context) {
        struct asker *asker = context;
        asker->result = channel_call(&asker->stage->channel, &asker->request, &asker->call);
        return NULL;
}

/* Begins a call, and returns when it reads for all or sleeps. */
static void asker_start(struct asker *asker, struct stage *stage, int timeout_ms) {
        *asker = (struct asker){.stage = stage,
                .request.kind = REQUEST_PING,
                .call = {.accept = accept_done, .timeout_ms = timeout_ms}};
        cr_assert_eq(pthread_create(&asker->thread, NULL, ask_channel, asker), 0);
        for (bool waits = false; !waits; sched_yield()) {
                pthread_mutex_lock(&stage->channel.lock);
                waits = timeout_ms < 0 ? stage->channel.reading : asker->call.asleep;
                pthread_mutex_unlock(&stage->channel.lock);
        }
}

/* Answers them all at once, so that one receive brings it all. */
static void stage_answer(struct stage *stage, const struct asker *askers, size_t count) {
        uint8_t frames[64 * ASKERS];
        size_t length = 0;
        for (size_t i = 0; i < count; i++) {
                struct reply reply = {.id = askers[i].request.id, .kind = REPLY_DONE};
                length += (size_t)reply_encode(&reply, frames + length, sizeof frames - length);
        }
        cr_assert_eq(send(stage->other, frames, length, 0), (ssize_t)length);
}

/* Until the one who reads has all that was sent. */
static void await_received(struct stage *stage) {
        int left;
        do {
                sched_yield();
                cr_assert_eq(ioctl(stage->channel.stream.fd, FIONREAD, &left), 0);
        } while (left > 0);
}

static void pass_time_until(int64_t when_ms) {
        while (now_ms() <= when_ms)
                nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

/* As after a stop, all come at once: the one who reads, either before those whose time is over or behind them. */
static void expect_all_heard(bool reader_first) {
        struct stage stage;
        struct asker askers[ASKERS];
        stage_open(&stage);
        for (unsigned i = 0; i < ASKERS; i++)
                asker_start(&askers[i], &stage, i == 0 ? -1 : TIMEOUT_MS);
        pthread_mutex_lock(&stage.channel.lock);
        int64_t over = now_ms() + TIMEOUT_MS + LATE_MS;
        if (reader_first) {
                stage_answer(&stage, askers, 1);
                await_received(&stage);
        }
        pass_time_until(over);
        stage_answer(&stage, askers + reader_first, ASKERS - reader_first);
        if (!reader_first)
                await_received(&stage);
        pthread_mutex_unlock(&stage.channel.lock);
        for (unsigned i = 0; i < ASKERS; i++)
                pthread_join(askers[i].thread, NULL);
        for (unsigned i = 0; i < ASKERS; i++)
                cr_assert_eq(askers[i].result, 0, "%s", askers[i].call.detail);
        stage_close(&stage);
}

Test(given_up, who_reads_gets_to_it_before_others_give_up) {
        expect_all_heard(false);
}

Test(given_up, whose_time_is_over_looks_once_more) {
        expect_all_heard(true);
}

/* ---- A give to oneself ---- */

/* Answers a give never or, when nobody waits any more, late; breaks off under an alloc. What is held then is one range that the
 * table must have: nothing is listed, nothing goes back. */
static void play_give(int fd, bool late) {
        static int connection;
        if (connection++ == 0) {
                peer_greet(fd);
                peer_send_range(fd, peer_read(fd)->id, 0, 1);
                const struct request *request = peer_read(fd);
                peer_need(request->kind == REQUEST_GIVE && request->give.peer == 7);
                uint64_t id = request->id;
                peer_need(peer_read(fd)->kind == REQUEST_ALLOC);
                if (late)
                        peer_send_done(fd, id);
                peer_done = (struct message_done){.request = id, .ranges = 1};
                return;
        }
        peer_granted = 1;
        peer_expect_hello_again(fd);
        const struct request *again = peer_read(fd);
        peer_need(again->kind == REQUEST_ALLOC);
        peer_send_range(fd, again->id, PAGE, 1);
        peer_part(fd);
}

static void gives_never(int fd) {
        play_give(fd, false);
}

static void gives_late(int fd) {
        play_give(fd, true);
}

static void expect_still_held(peer_script *script) {
        struct peer peer = peer_start(script);
        struct buddyclient *client = peer_connected(&peer, IMPATIENT_MS);
        struct buddyclient_range own, other;
        cr_assert_eq(buddyclient_alloc(client, PAGE, &own), 0);
        cr_assert_eq(buddyclient_give(client, &own, buddyclient_id(client)), -ENOTCONN);
        cr_assert_eq(own.generation, 1);
        int rc = buddyclient_alloc_wait(client, PAGE, 20000, &other);
        cr_assert_eq(rc, 0, "%d: %s", rc, buddyclient_detail(client));
        cr_assert_eq(other.offset, PAGE);
        buddyclient_destroy(client);
        peer_stop(&peer);
}

Test(given_up, a_give_to_oneself_leaves_what_is_held) {
        expect_still_held(gives_never);
}

Test(given_up, a_give_to_oneself_that_is_confirmed_late_leaves_what_is_held) {
        expect_still_held(gives_late);
}

/* ---- A process that is stopped over its deadline ---- */

#define THREADS_MAX 8
#define STOPPED_MS  1000 /* beyond the deadlines */

static unsigned askers;
static int asked[2], answer[2], answered[2]; /* pipes: all have asked; answer them; that is done */

static void tell(int *ends) {
        peer_need(write(ends[1], "", 1) == 1);
}

static void hear(int *ends) {
        char byte;
        peer_need(read(ends[0], &byte, 1) == 1);
}

static void answers_when_told(int fd) {
        uint64_t ids[THREADS_MAX];
        peer_greet(fd);
        for (unsigned i = 0; i < askers; i++)
                ids[i] = peer_read(fd)->id;
        tell(asked);
        hear(answer);
        for (unsigned i = 0; i < askers; i++)
                peer_send_range(fd, ids[i], i * PAGE, 1);
        tell(answered);
        peer_wait_close(fd);
}

static void *alloc_one(void *context) {
        struct buddyclient_range range;
        return (void *)(intptr_t)buddyclient_alloc(context, PAGE, &range);
}

/* How many of the calls failed. */
static int ask_all(const struct peer *peer) {
        struct buddyclient *client = peer_connected(peer, TIMEOUT_MS);
        pthread_t threads[THREADS_MAX];
        int failed = 0;
        for (unsigned i = 0; i < askers; i++)
                if (pthread_create(&threads[i], NULL, alloc_one, client) != 0)
                        return THREADS_MAX;
        for (unsigned i = 0; i < askers; i++) {
                void *result;
                pthread_join(threads[i], &result);
                failed += result != NULL;
        }
        return failed;
}

/* Stops a process that waits for answers, lets them come and its time run out by far, and lets it go on. */
static void expect_all_answered(unsigned threads) {
        int status;
        askers = threads;
        cr_assert(pipe(asked) == 0 && pipe(answer) == 0 && pipe(answered) == 0);
        struct peer peer = peer_start(answers_when_told);
        pid_t process = fork();
        cr_assert_geq(process, 0);
        if (process == 0)
                _exit(ask_all(&peer));
        hear(asked);
        kill(process, SIGSTOP);
        cr_assert_eq(waitpid(process, &status, WUNTRACED), process);
        cr_assert(WIFSTOPPED(status));
        int64_t over = now_ms() + TIMEOUT_MS + STOPPED_MS;
        tell(answer);
        hear(answered);
        pass_time_until(over);
        kill(process, SIGCONT);
        cr_assert_eq(waitpid(process, &status, 0), process);
        cr_assert(WIFEXITED(status));
        cr_assert_eq(WEXITSTATUS(status), 0, "%d calls of %u failed", WEXITSTATUS(status), threads);
        peer_stop(&peer);
}

Test(given_up, an_answer_that_came_while_the_process_was_stopped_counts) {
        expect_all_answered(1);
}

Test(given_up, answers_to_all_threads_that_came_while_the_process_was_stopped_count) {
        expect_all_answered(THREADS_MAX);
}
