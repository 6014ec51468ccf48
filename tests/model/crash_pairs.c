/* Every two operations of a pool beside each other on two threads, in every order that their stores to the ledger can
 * have, killed at every instant between two stores: what a take-over recovers must be what one of the
 * serial orders gives, with neither, one or both of them done. A batch may be done in part, each block of it whole; a close that has
 * begun is finished by the take-over. An order that gets to its end must pass the walk of every invariant, recover to what it is,
 * and give the results and the state of one of the two serial orders. Built with LEDGER_HOOK. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash_state.h"
#include "crash_threads.h"

#define BATCH         3
#define CHOICES_MAX   128
#define ALLOWED_MAX   256
#define LOCK_SWITCHES 1

enum outcome { NEITHER, FIRST, SECOND, BOTH, IN_PART, OUTCOMES };

struct allowed {
        char *text; /* owned */
        enum outcome outcome;
};

/* A serial order of the whole pair. */
struct serial {
        int results[THREADS];
        char *text; /* owned */
};

/* Which orders are tried. */
struct search {
        bool at_locks;         /* threads stop before locks, too */
        unsigned switches_max; /* from a thread that could go on */
};

/* All orders of the stores; and what comes between other instants, as far as one switch at any of them shows it. */
static const struct search every_store = {.switches_max = CHOICES_MAX};
static const struct search every_lock = {.at_locks = true, .switches_max = LOCK_SWITCHES};

struct counts {
        uint64_t interleavings, kills, outcomes[OUTCOMES];
};

struct pair {
        const struct operation *operations[THREADS];
        struct allowed allowed[ALLOWED_MAX];
        size_t allowed_count;
        struct serial serials[THREADS]; /* by which of the two goes first */
        struct counts counts;
};

static struct scene scene;
static struct scene_image *image;

/* The choices of the run that is under way, and how to go on to the next one: depth first. */
static unsigned path[CHOICES_MAX];
static unsigned path_length;
static unsigned path_replayed; /* of these, choices that a run before has made, too */

static void pair_fail(const struct pair *pair, const char *what, const char *state) {
        fprintf(stderr, "crash_pairs: \"%s\" beside \"%s\": %s; order of steps ",
                pair->operations[0]->name, pair->operations[1]->name, what);
        for (unsigned i = 0; i < path_length; i++)
                fputc('0' + (int)path[i], stderr);
        fprintf(stderr, "\n%s", state);
        for (size_t i = 0; i < pair->allowed_count; i++)
                fprintf(stderr, "---- allowed:\n%s", pair->allowed[i].text);
        exit(1);
}

/* ---- What may come out ---- */

static size_t part_count(const struct operation *operation) {
        return operation->run_part ? BATCH : 1;
}

static void part_run(const struct operation *operation, size_t part) {
        if (operation->run_part)
                operation->run_part(&scene, part);
        else
                operation->run(&scene);
}

static enum outcome outcome_of(size_t first, size_t firsts, size_t second, size_t seconds) {
        if ((first > 0 && first < firsts) || (second > 0 && second < seconds))
                return IN_PART;
        return (enum outcome)((first ? FIRST : NEITHER) + (second ? SECOND : NEITHER));
}

/* Of several ways to a state, the one that did least names it. */
static void allowed_add(struct pair *pair, char *text, enum outcome outcome) {
        for (size_t i = 0; i < pair->allowed_count; i++) {
                struct allowed *at = &pair->allowed[i];
                if (strcmp(at->text, text) != 0)
                        continue;
                if (outcome < at->outcome)
                        at->outcome = outcome;
                free(text);
                return;
        }
        require(pair->allowed_count < ALLOWED_MAX, "too many outcomes");
        pair->allowed[pair->allowed_count++] = (struct allowed){.text = text, .outcome = outcome};
}

/* One order of the parts, bit i of it says whose the i-th one is; each state on the way is allowed. */
static void allowed_try_order(struct pair *pair, unsigned order, const size_t counts[THREADS]) {
        size_t done[THREADS] = {0};
        image_restore(image, &scene);
        allowed_add(pair, state_text(image, &scene), NEITHER);
        for (unsigned i = 0; i < counts[0] + counts[1]; i++) {
                unsigned thread = order >> i & 1;
                part_run(pair->operations[thread], done[thread]++);
                allowed_add(pair, state_text(image, &scene),
                        outcome_of(done[0], counts[0], done[1], counts[1]));
        }
}

static void allowed_find(struct pair *pair) {
        const size_t counts[THREADS] = {
                part_count(pair->operations[0]), part_count(pair->operations[1])};
        for (unsigned order = 0; order < 1u << (counts[0] + counts[1]); order++)
                if ((size_t)__builtin_popcount(order) == counts[1])
                        allowed_try_order(pair, order, counts);
}

static void serials_find(struct pair *pair) {
        for (unsigned first = 0; first < THREADS; first++) {
                image_restore(image, &scene);
                struct serial *serial = &pair->serials[first];
                serial->results[first] = pair->operations[first]->run(&scene);
                serial->results[!first] = pair->operations[!first]->run(&scene);
                serial->text = state_text(image, &scene);
                require(first != 0 || serial->results[0] == pair->operations[0]->result,
                        pair->operations[0]->name);
        }
}

/* ---- Runs ---- */

struct run {
        const struct search *search;
        unsigned thread; /* that went on last */
        unsigned step, switches;
};

/* A kill here and now. */
static void pair_kill(struct pair *pair) {
        const char *text = state_recovered(image, &scene);
        for (size_t i = 0; i < pair->allowed_count; i++)
                if (strcmp(pair->allowed[i].text, text) == 0) {
                        pair->counts.kills++;
                        pair->counts.outcomes[pair->allowed[i].outcome]++;
                        return;
                }
        pair_fail(pair, "killed, it recovers to what no serial order gives", text);
}

static void pair_judge_end(struct pair *pair) {
        struct pool_check_report report;
        if (pool_check(scene.fixture.pool, &report) < 0)
                pair_fail(pair, report.fault, "");
        char *text = state_text(image, &scene);
        if (strcmp(text, state_recovered(image, &scene)) != 0)
                pair_fail(pair, "its lists differ from its ledger", text);
        bool serial = false;
        for (unsigned first = 0; first < THREADS; first++)
                serial |= thread_result(0) == pair->serials[first].results[0] &&
                          thread_result(1) == pair->serials[first].results[1] &&
                          strcmp(text, pair->serials[first].text) == 0;
        if (!serial)
                pair_fail(pair, "results and state are of no serial order", text);
        free(text);
}

/* Where both threads can go on, the path says whether it is the other one that does; behind its end, it is not. */
static unsigned pair_choose(const struct pair *pair, struct run *run) {
        unsigned current = run->thread;
        bool stay = thread_can_go_on(current), change = thread_can_go_on(!current);
        if (!stay && !change)
                pair_fail(pair, "deadlock", "");
        if (stay && !thread_has_choice(current))
                return current;
        if (!stay || !change || run->switches == run->search->switches_max)
                return stay ? current : !current;
        if (run->step == path_length) {
                require(path_length < CHOICES_MAX, "an operation makes too many steps");
                path[path_length++] = 0;
        }
        run->switches += path[run->step];
        return path[run->step++] ? !current : current;
}

static void pair_run(struct pair *pair, const struct search *search, unsigned first) {
        struct run run = {.search = search, .thread = first};
        image_restore(image, &scene);
        threads_start(&scene, pair->operations, search->at_locks);
        while (!threads_ended()) {
                run.thread = pair_choose(pair, &run);
                bool stored = thread_go_on(run.thread);
                if (stored && run.step >= path_replayed)
                        pair_kill(pair);
        }
        pair_judge_end(pair);
        pair->counts.interleavings++;
}

/* The next path: the last choice to stay becomes one to change. */
static bool path_next(void) {
        while (path_length > 0 && path[path_length - 1] == 1)
                path_length--;
        if (path_length == 0)
                return false;
        path[path_length - 1]++;
        path_replayed = path_length;
        return true;
}

static void pair_search(struct pair *pair, const struct search *search, unsigned first) {
        path_length = path_replayed = 0;
        do
                pair_run(pair, search, first);
        while (path_next());
}

static struct counts pair_try(const struct operation *first, const struct operation *second) {
        static struct pair pair;
        pair = (struct pair){.operations = {first, second}};
        allowed_find(&pair);
        serials_find(&pair);
        pair_search(&pair, &every_store, 0);
        for (unsigned thread = 0; thread < THREADS; thread++)
                pair_search(&pair, &every_lock, thread);
        for (size_t i = 0; i < pair.allowed_count; i++)
                free(pair.allowed[i].text);
        for (size_t i = 0; i < THREADS; i++)
                free(pair.serials[i].text);
        return pair.counts;
}

/* ---- The table ---- */

static void counts_add(struct counts *sum, const struct counts *counts) {
        sum->interleavings += counts->interleavings;
        sum->kills += counts->kills;
        for (size_t i = 0; i < OUTCOMES; i++)
                sum->outcomes[i] += counts->outcomes[i];
}

static void counts_print(const char *first, const char *second, const struct counts *counts) {
        printf("%-30s %-30s %6llu %6llu", first, second, (unsigned long long)counts->interleavings,
                (unsigned long long)counts->kills);
        for (size_t i = 0; i < OUTCOMES; i++)
                printf(" %7llu", (unsigned long long)counts->outcomes[i]);
        putchar('\n');
}

int main(void) {
        struct counts total = {0};
        scene_init(&scene, BATCH);
        image = image_new(&scene);
        printf("%-30s %-30s %6s %6s %7s %7s %7s %7s %7s\n", "first", "second", "orders", "kills",
                "neither", "first", "second", "both", "in part");
        for (size_t i = 0; i < operation_count; i++)
                for (size_t j = i; j < operation_count; j++) {
                        struct counts counts = pair_try(&operations[i], &operations[j]);
                        counts_print(operations[i].name, operations[j].name, &counts);
                        counts_add(&total, &counts);
                }
        counts_print("all", "", &total);
        printf("%zu pairs, %llu orders of their stores, %llu kills, %zu different ledgers "
               "recovered\n",
                operation_count * (operation_count + 1) / 2,
                (unsigned long long)total.interleavings, (unsigned long long)total.kills,
                image_states(image));
        image_free(image);
        scene_deinit(&scene);
        return 0;
}
