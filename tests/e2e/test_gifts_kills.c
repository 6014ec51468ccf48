/* Kills of the daemon, of givers and of receivers, at any moment of a load of hand-overs with gifts in caches: who outlives them keeps what
 * it holds, what was released stays released, nothing is granted twice and nothing is lost. */
#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gift_stage.h"

TestSuite(gifts_kills, .timeout = 120);

/* ---- Names over a kill of the daemon ---- */

enum { EACH = 24 };

/* Gifts that are held, that are in the cache, that are in use again, and that others hold, too. */
Test(gifts_kills, a_receiver_outlives_the_daemon) {
        struct gift_stage stage;
        struct buddyclient_range held[EACH], released[EACH], again[EACH], shared[EACH];
        gift_stage_open(&stage);
        for (int kills = 0; kills < 4; kills++) {
                for (size_t each = 0; each < EACH; each++) {
                        held[each] = gift_new(&stage, SCENE_PAGE << each % 3);
                        released[each] = gift_new(&stage, SCENE_PAGE << each % 3);
                        again[each] = gift_new(&stage, SCENE_PAGE << each % 3);
                        shared[each] = gift_new(&stage, SCENE_PAGE);
                        cr_assert_eq(buddyclient_attach(stage.third, &shared[each]), 0);
                }
                for (size_t each = 0; each < EACH; each++) {
                        gift_returned(stage.receiver, &released[each]);
                        again[each] = gift_again(stage.receiver, &again[each]);
                }
                uint64_t bytes = stats_of(stage.observer).held_bytes;
                gift_stage_restart(&stage);
                if (kills % 2)
                        expect_held(stage.observer, bytes);
                for (size_t each = 0; each < EACH; each++) {
                        expect_outdated(&stage, &released[each]);
                        cr_assert(mark_holds(stage.receiver, &held[each], mark_of(&held[each])));
                        cr_assert_eq(buddyclient_attach(stage.third, &held[each]), 0);
                        gift_returned(stage.third, &held[each]);
                        gift_returned(stage.receiver, &held[each]);
                        gift_returned(stage.receiver, &shared[each]);
                        cr_assert(mark_holds(stage.receiver, &again[each], mark_of(&again[each])));
                        gift_returned(stage.receiver, &again[each]);
                        expect_outdated(&stage, &held[each]);
                        expect_outdated(&stage, &again[each]);
                }
                expect_rest_free(&stage, EACH * SCENE_PAGE);
                for (size_t each = 0; each < EACH; each++) {
                        cr_assert(mark_holds(stage.third, &shared[each], mark_of(&shared[each])));
                        gift_returned(stage.third, &shared[each]);
                }
        }
        gift_stage_close(&stage);
}

/* The daemon is away: what the receiver returns then is returned, and once. */
Test(gifts_kills, gifts_released_while_the_daemon_is_away_are_released) {
        struct gift_stage stage;
        struct buddyclient_range gifts[EACH];
        struct buddyclient *hasty = NULL;
        gift_stage_open(&stage);
        cr_assert_eq(buddyclient_new(&hasty), 0);
        cr_assert_eq(buddyclient_set_socket(hasty, stage.scene.socket), 0);
        cr_assert_eq(buddyclient_set_pool(hasty, stage.scene.pool), 0);
        cr_assert_eq(buddyclient_set_timeout_ms(hasty, IMPATIENT_MS), 0);
        cr_assert_eq(buddyclient_connect(hasty), 0);
        for (size_t each = 0; each < EACH; each++) {
                gifts[each] = gift_taken(stage.giver, SCENE_PAGE);
                gift_handed(stage.giver, &gifts[each], hasty);
        }
        scene_kill(&stage.scene);
        release_in_vain(hasty, gifts, 1);
        release_in_vain(hasty, gifts + 1, EACH / 2 - 1);
        scene_start(&stage.scene, "--size", GIFT_POOL, NULL);
        buddyclient_destroy(stage.receiver);
        stage.receiver = client_caching_bytes(&stage.scene, GIFT_CACHE);
        for (size_t each = EACH / 2; each < EACH; each++) {
                int result;
                uint64_t deadline = now_ms() + PATIENCE_MS;
                while ((result = buddyclient_attach(hasty, &gifts[each])) == -ENOTCONN)
                        cr_assert_lt(now_ms(), deadline);
                cr_assert_eq(result, 0, "%d", result);
                gift_returned(hasty, &gifts[each]);
                gift_returned(hasty, &gifts[each]);
        }
        for (size_t each = 0; each < EACH; each++)
                cr_assert_eq(buddyclient_release(hasty, &gifts[each]), -ESTALE, "%zu", each);
        await_held(stage.observer, 0);
        expect_rest_free(&stage, 0);
        buddyclient_destroy(hasty);
        gift_stage_close(&stage);
}

/* The giver leaves, dead or alive; what it gave stays, and is released into a cache all the same. */
Test(gifts_kills, gifts_outlive_their_giver) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        for (int round = 0; round < 30; round++) {
                struct buddyclient_range gifts[EACH];
                for (size_t each = 0; each < EACH; each++)
                        gifts[each] = gift_new(&stage, SCENE_PAGE << each % 3);
                if (round % 3 == 1)
                        gift_stage_restart(&stage);
                buddyclient_destroy(stage.giver);
                stage.giver = client_caching_bytes(&stage.scene, GIFT_CACHE);
                for (size_t each = 0; each < EACH; each++) {
                        cr_assert(mark_holds(stage.receiver, &gifts[each], mark_of(&gifts[each])));
                        gift_returned(stage.receiver, &gifts[each]);
                        expect_outdated(&stage, &gifts[each]);
                }
                expect_held(stage.observer, 0);
        }
        gift_stage_close(&stage);
}

/* ---- A load of hand-overs ---- */

/* Shared with the processes of the load. */
struct load {
        atomic_bool stop;
        atomic_uint handed; /* so many gifts have been released */
        atomic_uint ready;  /* so many have connected that give, or want all the memory */
        int failure;        /* the line of what was not to be; 0: nothing */
        int result;
};

struct parcel {
        struct buddyclient_range range;
        uint64_t mark;
};

static struct load *load;

/* Ends the process as failed where this does not hold. */
#define MUST(condition, rc)                                                                        \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        load->failure = __LINE__;                                                  \
                        load->result = (rc);                                                       \
                        _exit(1);                                                                  \
                }                                                                                  \
        } while (0)

/* Of two processes that hand over, the one that makes the gifts. It ends well when told to, or when the receiver is gone. */
static _Noreturn void give_run(const struct scene *scene, int parcels, uint32_t peer) {
        struct buddyclient *client = client_caching(scene);
        MUST(client, 0);
        atomic_fetch_add(&load->ready, 1);
        for (unsigned turn = 0; !atomic_load(&load->stop); turn++) {
                struct parcel parcel;
                int result = buddyclient_alloc(client, SCENE_PAGE << turn % 5, &parcel.range);
                if (result == -ENOMEM) {
                        sched_yield();
                        continue;
                }
                MUST(result == 0, result);
                parcel.mark = mark_of(&parcel.range);
                mark_write(client, &parcel.range, parcel.mark);
                result = buddyclient_give(client, &parcel.range, peer);
                if (result == -ENOENT)
                        break;
                MUST(result == 0, result);
                if (write(parcels, &parcel, sizeof parcel) != sizeof parcel)
                        break;
        }
        buddyclient_destroy(client);
        _exit(0);
}

static void check_and_return(struct buddyclient *client, const struct parcel *parcel) {
        MUST(mark_holds(client, &parcel->range, parcel->mark), 0);
        int result = buddyclient_release(client, &parcel->range);
        MUST(result == 0, result);
        if (parcel->mark % 4 != 0)
                return;
        result = buddyclient_release(client, &parcel->range);
        MUST(result == -ESTALE, result);
}

/* One of its own, maybe what was a gift before. */
static void take_and_return(struct buddyclient *client, uint64_t length) {
        struct parcel own;
        int result = buddyclient_alloc(client, length, &own.range);
        MUST(result == 0 || result == -ENOMEM, result);
        if (result != 0)
                return;
        own.mark = mark_of(&own.range);
        mark_write(client, &own.range, own.mark);
        check_and_return(client, &own);
}

/* The other one: keeps the last few, looks at them when it returns them, and takes ranges of its own. It ends when no more come. */
static _Noreturn void receive_run(const struct scene *scene, int parcels, int id_fd) {
        enum { KEPT = 8 };
        struct parcel kept[KEPT];
        size_t count = 0;
        struct buddyclient *client = client_caching(scene);
        MUST(client, 0);
        uint32_t id = buddyclient_id(client);
        MUST(write(id_fd, &id, sizeof id) == sizeof id, 0);
        close(id_fd);
        while (read(parcels, &kept[count % KEPT], sizeof *kept) == sizeof *kept) {
                MUST(mark_holds(client, &kept[count % KEPT].range, kept[count % KEPT].mark), 0);
                count++;
                if (count >= KEPT)
                        check_and_return(client, &kept[count % KEPT]);
                if (count % 3 == 0)
                        take_and_return(client, SCENE_PAGE << count % 4);
                atomic_fetch_add(&load->handed, 1);
        }
        for (size_t each = count < KEPT ? 0 : count - KEPT + 1; each < count; each++)
                check_and_return(client, &kept[each % KEPT]);
        buddyclient_destroy(client);
        _exit(0);
}

/* Somebody else who wants all the memory there is. */
static _Noreturn void eat_run(const struct scene *scene) {
        static struct buddyclient_range pages[GIFT_POOL_PAGES];
        struct buddyclient *client = client_try(scene);
        MUST(client, 0);
        atomic_fetch_add(&load->ready, 1);
        while (!atomic_load(&load->stop)) {
                size_t taken = take_all(client, pages);
                for (size_t each = 0; each < taken; each++)
                        MUST(mark_holds(client, &pages[each], UINT64_MAX - each), 0);
                int result = buddyclient_release_many(client, pages, taken);
                MUST(result == 0, result);
        }
        buddyclient_destroy(client);
        _exit(0);
}

/* Whom a round is the end of. */
enum victims { GIVER = 1, RECEIVER = 2, EATER = 4, DAEMON = 8 };

/* Those who take part in it, in the order of the victims' bits. */
struct cast {
        struct scene *scene;
        pid_t giver, receiver, eater; /* 0: is gone */
};

static void cast_start(struct cast *cast) {
        int parcels[2], ids[2];
        uint32_t peer = 0;
        atomic_store(&load->stop, false);
        atomic_store(&load->ready, 0);
        cr_assert(pipe(parcels) == 0 && pipe(ids) == 0);
        cast->receiver = process_fork();
        if (cast->receiver == 0) {
                close(parcels[1]);
                receive_run(cast->scene, parcels[0], ids[1]);
        }
        close(parcels[0]);
        close(ids[1]);
        cr_assert_eq(read(ids[0], &peer, sizeof peer), (ssize_t)sizeof peer);
        close(ids[0]);
        cast->giver = process_fork();
        if (cast->giver == 0)
                give_run(cast->scene, parcels[1], peer);
        close(parcels[1]);
        cast->eater = process_fork();
        if (cast->eater == 0)
                eat_run(cast->scene);
}

static void counter_await(atomic_uint *counter, unsigned wanted) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (atomic_load(counter) < wanted) {
                cr_assert_eq(load->failure, 0, "line %d: %d", load->failure, load->result);
                cr_assert_lt(now_ms(), deadline, "the load stands still");
                sched_yield();
        }
}

/* All are connected, and so many more gifts have been handed over. */
static void cast_await(unsigned handed) {
        counter_await(&load->ready, 2);
        counter_await(&load->handed, atomic_load(&load->handed) + handed);
}

/* Both of those that hand over may be victims: then one may have ended well meanwhile, as the other was gone. */
static void cast_kill(struct cast *cast, unsigned victims) {
        pid_t *processes[3] = {&cast->giver, &cast->receiver, &cast->eater};
        for (size_t each = 0; each < 3; each++)
                if (victims & 1u << each)
                        kill(*processes[each], SIGKILL);
        for (size_t each = 0; each < 3; each++) {
                if ((victims & 1u << each) == 0)
                        continue;
                int status = process_wait(*processes[each]);
                bool both = (victims & (GIVER | RECEIVER)) == (GIVER | RECEIVER);
                cr_assert(status == -SIGKILL || (both && status == 0),
                        "process %zu ended with %d: line %d: %d", each, status, load->failure,
                        load->result);
                *processes[each] = 0;
        }
}

/* Those that are left end well. */
static void cast_end(struct cast *cast) {
        pid_t processes[3] = {cast->giver, cast->receiver, cast->eater};
        atomic_store(&load->stop, true);
        for (size_t each = 0; each < 3; each++) {
                if (processes[each] == 0)
                        continue;
                int status = process_wait(processes[each]);
                cr_assert_eq(status, 0, "process %zu ended with %d: line %d: %d", each, status,
                        load->failure, load->result);
        }
}

/* Kills them under load; then all that is left works on for a while, and ends. */
static void kill_round(struct gift_stage *stage, unsigned victims, unsigned moment) {
        struct cast cast = {.scene = &stage->scene};
        cast_start(&cast);
        cast_await(moment);
        if (victims & DAEMON)
                scene_kill(&stage->scene);
        cast_kill(&cast, victims);
        if (victims & DAEMON)
                scene_start(&stage->scene, "--size", GIFT_POOL, NULL);
        stats_of(stage->observer);
        if ((victims & (GIVER | RECEIVER)) == 0)
                cast_await(50);
        cast_end(&cast);
        await_held(stage->observer, 0);
        expect_rest_free(stage, 0);
        expect_sound(&stage->scene);
}

static void kill_rounds(const unsigned *victims, size_t count) {
        struct gift_stage stage;
        unsigned seed = 4711;
        gift_stage_open(&stage);
        load = mmap(NULL, sizeof *load, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        cr_assert(load != MAP_FAILED);
        for (size_t each = 0; each < count; each++)
                kill_round(&stage, victims[each], (unsigned)rand_r(&seed) % 300);
        cr_assert_gt(load->handed, 0);
        gift_stage_close(&stage);
}

#define ROUNDS(...)                                                                                \
        do {                                                                                       \
                const unsigned victims_[] = {__VA_ARGS__};                                         \
                kill_rounds(victims_, sizeof victims_ / sizeof *victims_);                         \
        } while (0)

Test(gifts_kills, givers_are_killed) {
        ROUNDS(GIVER, GIVER, GIVER, GIVER, GIVER | EATER, GIVER, GIVER, GIVER);
}

Test(gifts_kills, receivers_are_killed) {
        ROUNDS(RECEIVER, RECEIVER, RECEIVER, RECEIVER, RECEIVER | EATER, RECEIVER, RECEIVER,
                GIVER | RECEIVER);
}

Test(gifts_kills, daemons_are_killed) {
        ROUNDS(DAEMON, DAEMON, DAEMON, DAEMON, DAEMON, DAEMON);
}

Test(gifts_kills, daemons_are_killed_with_one_of_their_clients) {
        ROUNDS(DAEMON | GIVER, DAEMON | RECEIVER, DAEMON | EATER, DAEMON | GIVER, DAEMON | RECEIVER,
                DAEMON | GIVER | RECEIVER);
}
