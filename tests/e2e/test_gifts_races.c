/* Gifts that two threads go for at once: two releases, a release and the gift itself, and attaches against all that giver and
 * receiver do. Whoever wins, one does, and who is told that it holds a range sees the bytes of the name that it named. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "gift_stage.h"
#include "outcome.h"

TestSuite(gifts_races, .timeout = 120);

/* Two threads that do something to one range at the same time, round after round. */
struct pair {
        struct gift_stage *stage;
        int (*other)(struct pair *pair); /* what the second thread does */
        struct buddyclient_range range;
        unsigned rounds;
        atomic_uint turn; /* odd: the second thread's */
        atomic_int result;
        atomic_bool done;
};

static void *pair_run(void *argument) {
        struct pair *pair = argument;
        for (unsigned round = 0; round < pair->rounds; round++) {
                while (atomic_load(&pair->turn) != 2 * round + 1)
                        sched_yield();
                atomic_store(&pair->result, pair->other(pair));
                atomic_store(&pair->turn, 2 * round + 2);
        }
        return NULL;
}

static int pair_await(struct pair *pair, unsigned round) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (atomic_load(&pair->turn) != 2 * round + 2) {
                cr_assert_lt(now_ms(), deadline, "the other thread does not answer");
                sched_yield();
        }
        return atomic_load(&pair->result);
}

static pthread_t pair_start(struct pair *pair) {
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, pair_run, pair), 0);
        return thread;
}

/* ---- Two releases ---- */

static int release_too(struct pair *pair) {
        return buddyclient_release(pair->stage->receiver, &pair->range);
}

Test(gifts_races, of_two_releases_of_a_gift_one_is_refused) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct pair pair = {.stage = &stage, .other = release_too, .rounds = 2000};
        pthread_t thread = pair_start(&pair);
        for (unsigned round = 0; round < pair.rounds; round++) {
                pair.range = gift_new(&stage, SCENE_PAGE << round % 5);
                atomic_store(&pair.turn, 2 * round + 1);
                int mine = buddyclient_release(stage.receiver, &pair.range);
                int theirs = pair_await(&pair, round);
                cr_assert((mine == 0 && theirs == -ESTALE) || (mine == -ESTALE && theirs == 0),
                        "round %u: %d and %d", round, mine, theirs);
                if (round % 100 == 0)
                        expect_held(stage.observer, 0);
        }
        pthread_join(thread, NULL);
        gift_stage_close(&stage);
}

/* The same where another one holds it, so that the release that wins is not the cache's. */
Test(gifts_races, of_two_releases_of_a_shared_gift_one_is_refused) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct pair pair = {.stage = &stage, .other = release_too, .rounds = 1000};
        pthread_t thread = pair_start(&pair);
        for (unsigned round = 0; round < pair.rounds; round++) {
                pair.range = gift_new(&stage, SCENE_PAGE);
                uint64_t mark = mark_of(&pair.range);
                cr_assert_eq(buddyclient_attach(stage.third, &pair.range), 0);
                atomic_store(&pair.turn, 2 * round + 1);
                int mine = buddyclient_release(stage.receiver, &pair.range);
                int theirs = pair_await(&pair, round);
                cr_assert((mine == 0 && theirs == -ESTALE) || (mine == -ESTALE && theirs == 0),
                        "round %u: %d and %d", round, mine, theirs);
                struct buddyclient_range other = gift_taken(stage.receiver, SCENE_PAGE);
                cr_assert(mark_holds(stage.third, &pair.range, mark), "round %u", round);
                gift_returned(stage.third, &pair.range);
                gift_returned(stage.receiver, &other);
        }
        pthread_join(thread, NULL);
        gift_stage_close(&stage);
}

/* A release against the receiver's giving it onwards: the one or the other. */
static int give_on(struct pair *pair) {
        struct buddyclient_range range = pair->range;
        return buddyclient_give(pair->stage->receiver, &range, buddyclient_id(pair->stage->third));
}

Test(gifts_races, of_a_release_and_a_gift_onwards_one_is_refused) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct pair pair = {.stage = &stage, .other = give_on, .rounds = 1500};
        pthread_t thread = pair_start(&pair);
        for (unsigned round = 0; round < pair.rounds; round++) {
                pair.range = gift_new(&stage, SCENE_PAGE);
                atomic_store(&pair.turn, 2 * round + 1);
                int mine = buddyclient_release(stage.receiver, &pair.range);
                int theirs = pair_await(&pair, round);
                cr_assert((mine == 0 && theirs == -ESTALE) || (mine == -ESTALE && theirs == 0),
                        "round %u: %d and %d", round, mine, theirs);
                cr_assert_eq(buddyclient_release(stage.third, &pair.range),
                        theirs == 0 ? 0 : -ESTALE, "round %u", round);
        }
        pthread_join(thread, NULL);
        gift_stage_close(&stage);
}

/* ---- A release and the gift itself ---- */

static int give_now(struct pair *pair) {
        struct buddyclient_range range = pair->range;
        return buddyclient_give(pair->stage->giver, &range, buddyclient_id(pair->stage->receiver));
}

/* The receiver knows the name and returns it as soon as it is its own. */
Test(gifts_races, a_release_races_with_the_gift) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct pair pair = {.stage = &stage, .other = give_now, .rounds = 1000};
        pthread_t thread = pair_start(&pair);
        for (unsigned round = 0; round < pair.rounds; round++) {
                uint64_t length = SCENE_PAGE << round % 5, deadline = now_ms() + PATIENCE_MS;
                int result;
                pair.range = gift_taken(stage.giver, length);
                atomic_store(&pair.turn, 2 * round + 1);
                while ((result = buddyclient_release(stage.receiver, &pair.range)) == -ESTALE)
                        cr_assert_lt(now_ms(), deadline, "the gift does not arrive");
                cr_assert_eq(result, 0, "round %u: %d", round, result);
                cr_assert_eq(buddyclient_release(stage.receiver, &pair.range), -ESTALE);
                struct buddyclient_range next = gift_taken(stage.receiver, length);
                result = pair_await(&pair, round);
                cr_assert_eq(result, 0, "round %u: the gift: %d", round, result);
                cr_assert_eq(buddyclient_release(stage.receiver, &pair.range), -ESTALE);
                cr_assert_eq(buddyclient_release(stage.giver, &pair.range), -ESTALE);
                cr_assert(mark_holds(stage.receiver, &next, mark_of(&next)));
                gift_returned(stage.receiver, &next);
        }
        pthread_join(thread, NULL);
        gift_stage_close(&stage);
}

/* The same, by giving it onwards. */
Test(gifts_races, a_gift_onwards_races_with_the_gift) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct pair pair = {.stage = &stage, .other = give_now, .rounds = 1000};
        pthread_t thread = pair_start(&pair);
        for (unsigned round = 0; round < pair.rounds; round++) {
                uint64_t length = SCENE_PAGE << round % 5, deadline = now_ms() + PATIENCE_MS;
                struct buddyclient_range onwards;
                int result;
                pair.range = gift_taken(stage.giver, length);
                atomic_store(&pair.turn, 2 * round + 1);
                do {
                        onwards = pair.range;
                        result = buddyclient_give(
                                stage.receiver, &onwards, buddyclient_id(stage.third));
                        cr_assert_lt(now_ms(), deadline, "the gift does not arrive");
                } while (result == -ESTALE);
                cr_assert_eq(result, 0, "round %u: %d", round, result);
                cr_assert_eq(buddyclient_release(stage.receiver, &pair.range), -ESTALE);
                struct buddyclient_range next = gift_taken(stage.receiver, length);
                cr_assert_eq(pair_await(&pair, round), 0);
                cr_assert(mark_holds(stage.third, &onwards, mark_of(&onwards)), "round %u", round);
                cr_assert_eq(buddyclient_release(stage.receiver, &pair.range), -ESTALE);
                gift_returned(stage.receiver, &next);
                gift_returned(stage.third, &onwards);
        }
        pthread_join(thread, NULL);
        gift_stage_close(&stage);
}

/* Until one of the two has done it. */
static int release_until_done(struct pair *pair) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        int result;
        while ((result = buddyclient_release(pair->stage->receiver, &pair->range)) == -ESTALE &&
                !atomic_load(&pair->done))
                if (now_ms() > deadline)
                        return -ETIMEDOUT;
        atomic_store(&pair->done, true);
        return result;
}

/* Some requests are on their way before the receiver's memory knows of the gift, others see it there. */
Test(gifts_races, of_two_releases_that_race_with_the_gift_one_is_refused) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct pair pair = {.stage = &stage, .other = release_until_done, .rounds = 2000};
        pthread_t thread = pair_start(&pair);
        for (unsigned round = 0; round < pair.rounds; round++) {
                uint64_t length = SCENE_PAGE << round % 5;
                struct outcome outcome = {0};
                pair.range = gift_taken(stage.giver, length);
                atomic_store(&pair.done, false);
                cr_assert_eq(buddyclient_submit_give(stage.giver, &pair.range,
                                     buddyclient_id(stage.receiver), outcome_note, &outcome),
                        0);
                atomic_store(&pair.turn, 2 * round + 1);
                cr_assert_geq(buddyclient_dispatch(stage.giver), 0);
                int mine = release_until_done(&pair), theirs = pair_await(&pair, round);
                cr_assert((mine == 0 && theirs == -ESTALE) || (mine == -ESTALE && theirs == 0),
                        "round %u: %d and %d", round, mine, theirs);
                cr_assert_eq(buddyclient_release(stage.receiver, &pair.range), -ESTALE);
                outcome_await(stage.giver, &outcome, 0);
                if (round % 100 == 0)
                        expect_rest_free(&stage, 0);
        }
        pthread_join(thread, NULL);
        gift_stage_close(&stage);
}

/* ---- Attaches ---- */

/* The name that is in its life, or was just now, and what its range bears. */
struct board {
        pthread_mutex_t lock;
        struct buddyclient_range range;
        uint64_t mark;
        atomic_uint shown; /* so many names */
};

struct attacker {
        pthread_t thread;
        struct buddyclient *client;
        struct board *board;
        atomic_bool stop;
        atomic_uint attached, refused;
        const char *failure;
        int result;
};

static void board_show(struct board *board, const struct buddyclient_range *range, uint64_t mark) {
        pthread_mutex_lock(&board->lock);
        board->range = *range;
        board->mark = mark;
        pthread_mutex_unlock(&board->lock);
        atomic_fetch_add(&board->shown, 1);
}

static bool attacker_failed(struct attacker *attacker, const char *what, int result) {
        attacker->failure = what;
        attacker->result = result;
        return false;
}

/* What it holds may not change, while the others go on for more than a life of the block. */
static bool watch(struct attacker *attacker, const struct buddyclient_range *range, uint64_t mark) {
        unsigned first = atomic_load(&attacker->board->shown);
        bool same = true;
        while (same && !atomic_load(&attacker->stop) &&
                atomic_load(&attacker->board->shown) - first < 4) {
                same = mark_holds(attacker->client, range, mark);
                sched_yield();
        }
        return same && mark_holds(attacker->client, range, mark);
}

/* Attaches to what the board says; what it holds then ends with its own release. */
static bool attack(struct attacker *attacker) {
        struct board *board = attacker->board;
        pthread_mutex_lock(&board->lock);
        struct buddyclient_range range = board->range;
        uint64_t mark = board->mark;
        pthread_mutex_unlock(&board->lock);
        int result = buddyclient_attach(attacker->client, &range);
        if (result == -ESTALE) {
                atomic_fetch_add(&attacker->refused, 1);
                return true;
        }
        if (result != 0)
                return attacker_failed(attacker, "attach", result);
        if (!watch(attacker, &range, mark))
                return attacker_failed(attacker, "bytes of another name", 0);
        result = buddyclient_release(attacker->client, &range);
        if (result != 0)
                return attacker_failed(attacker, "release", result);
        atomic_fetch_add(&attacker->attached, 1);
        return true;
}

static void *attacker_run(void *argument) {
        struct attacker *attacker = argument;
        while (!atomic_load(&attacker->stop) && attack(attacker))
                ;
        return NULL;
}

/* Gives, releases and takes again what bears a new mark each time. */
static void hand_over(
        struct gift_stage *stage, struct board *board, uint64_t length, unsigned round) {
        struct buddyclient_range gift = gift_taken(stage->giver, length);
        uint64_t mark = mark_of(&gift);
        board_show(board, &gift, mark);
        gift_handed(stage->giver, &gift, stage->receiver);
        board_show(board, &gift, mark);
        if (round % 2)
                stats_of(stage->giver);
        cr_assert(mark_holds(stage->receiver, &gift, mark), "a gift has changed");
        gift_returned(stage->receiver, &gift);
        for (int lives = 0; lives < 3; lives++) {
                struct buddyclient_range own = gift_taken(stage->receiver, length);
                board_show(board, &own, mark_of(&own));
                if (lives == 1)
                        stats_of(stage->giver); /* long enough for an attach to come */
                cr_assert(mark_holds(stage->receiver, &own, mark_of(&own)), "granted twice");
                gift_returned(stage->receiver, &own);
                cr_assert_eq(buddyclient_release(stage->receiver, &own), -ESTALE);
        }
        cr_assert_eq(buddyclient_release(stage->receiver, &gift), -ESTALE);
}

static bool seen_enough(const struct attacker *attackers, unsigned wanted) {
        for (size_t each = 0; each < 2; each++)
                if (atomic_load(&attackers[each].attached) < wanted ||
                        atomic_load(&attackers[each].refused) < wanted)
                        return false;
        return true;
}

/* Until both attackers, of which one has a cache, have come in time and too late often enough. */
static void attack_hand_overs(uint64_t length, unsigned rounds_min, unsigned wanted) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct board board = {.lock = PTHREAD_MUTEX_INITIALIZER};
        struct buddyclient_range first = gift_taken(stage.giver, length);
        board_show(&board, &first, mark_of(&first));
        struct attacker attackers[2] = {{.client = stage.third, .board = &board},
                {.client = stage.observer, .board = &board}};
        for (size_t each = 0; each < 2; each++)
                cr_assert_eq(pthread_create(
                                     &attackers[each].thread, NULL, attacker_run, &attackers[each]),
                        0);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        for (unsigned round = 0; round < rounds_min || !seen_enough(attackers, wanted); round++) {
                hand_over(&stage, &board, length, round);
                for (size_t each = 0; each < 2; each++)
                        cr_assert_null(attackers[each].failure, "attacker %zu: %s: %d", each,
                                attackers[each].failure, attackers[each].result);
                cr_assert_lt(now_ms(), deadline, "attackers come always, or never, in time");
        }
        for (size_t each = 0; each < 2; each++) {
                atomic_store(&attackers[each].stop, true);
                pthread_join(attackers[each].thread, NULL);
                cr_assert_null(attackers[each].failure, "attacker %zu: %s: %d", each,
                        attackers[each].failure, attackers[each].result);
        }
        gift_returned(stage.giver, &first);
        gift_stage_close(&stage);
}

Test(gifts_races, an_attach_gets_the_bytes_of_its_name_or_is_refused) {
        attack_hand_overs(SCENE_PAGE, 1000, 100);
}

Test(gifts_races, an_attach_to_a_longer_gift_gets_the_bytes_of_its_name_or_is_refused) {
        attack_hand_overs(16 * SCENE_PAGE, 500, 100);
}

/* ---- Others that need the memory ---- */

struct eater {
        struct buddyclient *client;
        atomic_bool stop;
        atomic_uint rounds;
        const char *failure;
};

/* Takes all there is, again and again, so that what lies in caches is taken back under the hands of those who use them. */
static void *eater_run(void *argument) {
        static struct buddyclient_range pages[GIFT_POOL_PAGES];
        struct eater *eater = argument;
        while (!atomic_load(&eater->stop) && !eater->failure) {
                size_t taken = take_all(eater->client, pages);
                for (size_t each = 0; each < taken; each++)
                        if (!mark_holds(eater->client, &pages[each], UINT64_MAX - each))
                                eater->failure = "a page was granted twice";
                if (taken > 0 && buddyclient_release_many(eater->client, pages, taken) != 0)
                        eater->failure = "a release was refused";
                atomic_fetch_add(&eater->rounds, 1);
        }
        return NULL;
}

/* One hand-over where there may be no memory; false: there was none. */
static bool hand_over_if_any(struct gift_stage *stage, uint64_t length) {
        struct buddyclient_range gift;
        int result = buddyclient_alloc(stage->giver, length, &gift);
        if (result == -ENOMEM)
                return false;
        cr_assert_eq(result, 0, "%d %s", result, buddyclient_detail(stage->giver));
        uint64_t mark = mark_of(&gift);
        mark_write(stage->giver, &gift, mark);
        gift_handed(stage->giver, &gift, stage->receiver);
        cr_assert(mark_holds(stage->receiver, &gift, mark), "a gift has changed");
        gift_returned(stage->receiver, &gift);
        cr_assert_eq(buddyclient_release(stage->receiver, &gift), -ESTALE);
        return true;
}

Test(gifts_races, gifts_in_a_cache_are_taken_back_while_they_come_and_go) {
        struct gift_stage stage;
        pthread_t thread;
        gift_stage_open(&stage);
        struct eater eater = {.client = client_new(&stage.scene)};
        cr_assert_eq(pthread_create(&thread, NULL, eater_run, &eater), 0);
        uint64_t deadline = now_ms() + PATIENCE_MS;
        for (unsigned done = 0; done < 1000 || atomic_load(&eater.rounds) < 10;) {
                cr_assert_lt(now_ms(), deadline, "%u hand-overs, %u rounds", done,
                        atomic_load(&eater.rounds));
                if (hand_over_if_any(&stage, SCENE_PAGE << done % 5))
                        done++;
                else
                        sched_yield();
        }
        atomic_store(&eater.stop, true);
        pthread_join(thread, NULL);
        cr_assert_null(eater.failure, "%s", eater.failure);
        buddyclient_destroy(eater.client);
        gift_stage_close(&stage);
}

/* Who waits for memory is served by the gifts that are released meanwhile: they do not stay in the cache. */
struct waiter {
        struct buddyclient *client;
        int result;
};

static void *waiter_run(void *argument) {
        struct waiter *waiter = argument;
        struct buddyclient_range all;
        waiter->result = buddyclient_alloc_wait(waiter->client, GIFT_POOL_BYTES, -1, &all);
        if (waiter->result == 0)
                waiter->result = buddyclient_release(waiter->client, &all);
        return NULL;
}

Test(gifts_races, who_waits_gets_what_receivers_release) {
        struct gift_stage stage;
        gift_stage_open(&stage);
        struct waiter waiter = {.client = client_new(&stage.scene)};
        for (int round = 0; round < 20; round++) {
                struct buddyclient_range gifts[16];
                pthread_t thread;
                for (size_t each = 0; each < 16; each++)
                        gifts[each] = gift_new(&stage, SCENE_PAGE << each % 5);
                for (size_t each = 0; each < 8; each++)
                        gift_returned(stage.receiver, &gifts[each]);
                cr_assert_eq(pthread_create(&thread, NULL, waiter_run, &waiter), 0);
                await_waiters(stage.observer, 1);
                for (size_t each = 8; each < 16; each++)
                        gift_returned(stage.receiver, &gifts[each]);
                await_waiters(stage.observer, 0);
                pthread_join(thread, NULL);
                cr_assert_eq(waiter.result, 0, "%d", waiter.result);
        }
        buddyclient_destroy(waiter.client);
        gift_stage_close(&stage);
}
