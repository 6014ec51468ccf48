/* Every operation of the client library while one call to the system fails, the n-th for each n until none is left: the operation
 * ends in an error of the contract with its outputs untouched, or in success all the same; descriptors, allocations and mappings
 * are as before; the same operation then succeeds; the pool's invariants hold and nobody holds what nobody has.
 *
 * fault_library BUDDYD [OPERATION] */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "fault_stage.h"
#include "fault_usage.h"
#include "faults.h"

#define POOL_BYTES (UINT64_C(4) << 20)
#define PAGE       UINT64_C(4096)
#define MANY       16u
#define TRIES_MAX  500u
#define TIMEOUT_MS 5000
#define END_US     UINT64_C(10000000)

struct scene {
        struct fault_stage stage;
        struct buddyclient *client;
        struct buddyclient_range range, many[MANY];
        struct buddyclient *witness; /* works between the tries, and is the peer */
};

struct operation {
        const char *name;
        bool connected; /* the client is, before */
        bool caching;
        void (*prepare)(struct scene *scene); /* NULL: nothing */
        int (*run)(struct scene *scene);
};

static const struct buddyclient_range untouched = {77, 78, 79};

static void need(struct scene *scene, const char *what, int result) {
        if (result != 0)
                stage_fail(&scene->stage, "%s: %s (%s)", what, buddyclient_strerror(result),
                        buddyclient_detail(scene->client));
}

/* ---- Operations ---- */

static int run_new(struct scene *scene) {
        struct buddyclient *client = NULL;
        int result = buddyclient_new(&client);
        if (result == 0)
                buddyclient_destroy(client);
        else if (client)
                stage_fail(&scene->stage, "a failed new gave a client");
        return result;
}

static int run_set(struct scene *scene) {
        int result = buddyclient_set_socket(scene->client, scene->stage.socket);
        if (result == 0)
                result = buddyclient_set_name(scene->client, "other");
        return result;
}

static int run_connect(struct scene *scene) {
        return buddyclient_connect(scene->client);
}

static int run_alloc(struct scene *scene) {
        return buddyclient_alloc(scene->client, PAGE, &scene->range);
}

static int run_alloc_wait(struct scene *scene) {
        return buddyclient_alloc_wait(scene->client, PAGE, 1000, &scene->range);
}

static int run_alloc_many(struct scene *scene) {
        return buddyclient_alloc_many(scene->client, PAGE, MANY, scene->many);
}

static void prepare_range(struct scene *scene) {
        need(scene, "alloc", run_alloc(scene));
}

static void prepare_many(struct scene *scene) {
        need(scene, "alloc_many", run_alloc_many(scene));
}

static int run_release(struct scene *scene) {
        return buddyclient_release(scene->client, &scene->range);
}

static int run_release_many(struct scene *scene) {
        return buddyclient_release_many(scene->client, scene->many, MANY);
}

static int run_attach(struct scene *scene) {
        return buddyclient_attach(scene->client, &scene->range);
}

static int run_give(struct scene *scene) {
        struct buddyclient_range given = scene->range;
        int result = buddyclient_give(scene->client, &given, buddyclient_id(scene->witness));
        if (result == 0)
                need(scene, "release of a gift", buddyclient_release(scene->witness, &given));
        return result;
}

static int run_give_many(struct scene *scene) {
        struct buddyclient_range given[MANY];
        memcpy(given, scene->many, sizeof given);
        int result =
                buddyclient_give_many(scene->client, given, MANY, buddyclient_id(scene->witness));
        if (result == 0)
                need(scene, "release of gifts",
                        buddyclient_release_many(scene->witness, given, MANY));
        return result;
}

static int run_publish(struct scene *scene) {
        return buddyclient_publish(scene->client, "key", &scene->range);
}

static void prepare_key(struct scene *scene) {
        prepare_range(scene);
        need(scene, "publish", run_publish(scene));
}

static int run_lookup(struct scene *scene) {
        return buddyclient_lookup(scene->client, "key", &scene->range);
}

static void prepare_lookup(struct scene *scene) {
        prepare_key(scene);
        scene->range = untouched;
}

static int run_unpublish(struct scene *scene) {
        return buddyclient_unpublish(scene->client, "key");
}

static int run_find(struct scene *scene) {
        uint32_t peer;
        return buddyclient_find(scene->client, "witness", &peer);
}

static int run_stats(struct scene *scene) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        return buddyclient_stats(scene->client, &stats);
}

static int run_destroy(struct scene *scene) {
        buddyclient_destroy(scene->client);
        scene->client = NULL;
        return 0;
}

/* ---- Submissions: each is refused at once, or told once ---- */

struct told {
        struct scene *scene;
        unsigned runs;
        int result;
};

static void note(
        struct buddyclient *client, const struct buddyclient_completion *completion, void *data) {
        struct told *told = data;
        (void)client;
        told->runs++;
        told->result = completion->result;
        if (completion->count == 1)
                told->scene->range = completion->ranges[0];
        else if (completion->count == MANY)
                memcpy(told->scene->many, completion->ranges, sizeof told->scene->many);
}

static int await_told(struct scene *scene, int submitted, const struct told *told) {
        struct pollfd ready = {.fd = buddyclient_fd(scene->client), .events = POLLIN};
        if (submitted != 0) {
                if (told->runs > 0)
                        stage_fail(&scene->stage, "refused and told");
                return submitted;
        }
        while (told->runs == 0) {
                int seen = poll(&ready, 1, 2 * TIMEOUT_MS);
                if (seen < 0)
                        continue; /* it is one of the calls that fail */
                if (seen == 0)
                        stage_fail(&scene->stage, "the descriptor wakes nobody");
                int rc = buddyclient_dispatch(scene->client);
                if (rc < 0)
                        stage_fail(&scene->stage, "dispatch: %d", rc);
        }
        if (told->runs != 1)
                stage_fail(&scene->stage, "told %u times", told->runs);
        return told->result;
}

#define SUBMITS(name, call)                                                                        \
        static int name(struct scene *scene) {                                                     \
                struct told told = {.scene = scene};                                               \
                return await_told(scene, call, &told);                                             \
        }

SUBMITS(submit_alloc, buddyclient_submit_alloc(scene->client, PAGE, note, &told))
SUBMITS(submit_alloc_wait, buddyclient_submit_alloc_wait(scene->client, PAGE, 1000, note, &told))
SUBMITS(submit_alloc_many, buddyclient_submit_alloc_many(scene->client, PAGE, MANY, note, &told))
SUBMITS(submit_release, buddyclient_submit_release(scene->client, &scene->range, note, &told))
SUBMITS(submit_release_many,
        buddyclient_submit_release_many(scene->client, scene->many, MANY, note, &told))
SUBMITS(submit_attach, buddyclient_submit_attach(scene->client, &scene->range, note, &told))
SUBMITS(submit_publish,
        buddyclient_submit_publish(scene->client, "key", &scene->range, note, &told))
SUBMITS(submit_lookup, buddyclient_submit_lookup(scene->client, "key", note, &told))
SUBMITS(submit_unpublish, buddyclient_submit_unpublish(scene->client, "key", note, &told))
SUBMITS(submit_find, buddyclient_submit_find(scene->client, "witness", note, &told))
SUBMITS(submit_give, buddyclient_submit_give(scene->client, &scene->range,
                             buddyclient_id(scene->witness), note, &told))

static void watch(struct scene *scene) {
        if (buddyclient_fd(scene->client) < 0)
                stage_fail(&scene->stage, "no descriptor");
}

static void watch_range(struct scene *scene) {
        watch(scene);
        prepare_range(scene);
}

static void watch_many(struct scene *scene) {
        watch(scene);
        prepare_many(scene);
}

static void watch_key(struct scene *scene) {
        watch(scene);
        prepare_key(scene);
}

static void watch_lookup(struct scene *scene) {
        watch(scene);
        prepare_lookup(scene);
}

static int run_submit_give(struct scene *scene) {
        int result = submit_give(scene);
        if (result == 0)
                need(scene, "release of a gift",
                        buddyclient_release(scene->witness, &scene->range));
        return result;
}

static int run_fd(struct scene *scene) {
        int fd = buddyclient_fd(scene->client);
        return fd < 0 ? fd : 0;
}

/* The client finds out with its next call that this is another daemon. */
static void prepare_resume(struct scene *scene) {
        prepare_range(scene);
        stage_end(&scene->stage, SIGKILL);
        stage_start(&scene->stage, false);
        stage_await(&scene->stage);
}

static void watch_resume(struct scene *scene) {
        watch(scene);
        prepare_resume(scene);
}

static int run_resume(struct scene *scene) {
        return buddyclient_release(scene->client, &scene->range);
}

static const struct operation operations[] = {
        {"new", false, false, NULL, run_new},
        {"set", false, false, NULL, run_set},
        {"connect", false, false, NULL, run_connect},
        {"connect with a cache", false, true, NULL, run_connect},
        {"alloc", true, false, NULL, run_alloc},
        {"alloc with a cache", true, true, NULL, run_alloc},
        {"alloc_wait", true, false, NULL, run_alloc_wait},
        {"alloc_many", true, false, NULL, run_alloc_many},
        {"release", true, false, prepare_range, run_release},
        {"release_many", true, false, prepare_many, run_release_many},
        {"attach", true, false, prepare_range, run_attach},
        {"attach with a cache", true, true, prepare_range, run_attach},
        {"give", true, false, prepare_range, run_give},
        {"give with a cache", true, true, prepare_range, run_give},
        {"give_many", true, false, prepare_many, run_give_many},
        {"publish", true, false, prepare_range, run_publish},
        {"lookup", true, false, prepare_lookup, run_lookup},
        {"unpublish", true, false, prepare_key, run_unpublish},
        {"find", true, false, NULL, run_find},
        {"stats", true, false, NULL, run_stats},
        {"destroy", true, true, prepare_range, run_destroy},
        {"resume", true, false, prepare_resume, run_resume},
        {"resume with a cache", true, true, prepare_resume, run_resume},
        {"fd", true, false, NULL, run_fd},
        {"submit_alloc", true, false, watch, submit_alloc},
        {"submit_alloc, cached", true, true, watch, submit_alloc},
        {"submit_alloc_wait", true, false, watch, submit_alloc_wait},
        {"submit_alloc_many", true, false, watch, submit_alloc_many},
        {"submit_release", true, false, watch_range, submit_release},
        {"submit_release, cached", true, true, watch_range, submit_release},
        {"submit_release_many", true, false, watch_many, submit_release_many},
        {"submit_attach", true, true, watch_range, submit_attach},
        {"submit_give", true, true, watch_range, run_submit_give},
        {"submit_publish", true, false, watch_range, submit_publish},
        {"submit_lookup", true, false, watch_lookup, submit_lookup},
        {"submit_unpublish", true, false, watch_key, submit_unpublish},
        {"submit_find", true, false, watch, submit_find},
        {"resume by turns", true, false, watch_resume, submit_release},
        {"the same, with a cache", true, true, watch_resume, submit_release},
};
#define OPERATIONS (sizeof operations / sizeof *operations)

/* ---- One try ---- */

static struct buddyclient *client_open(struct scene *scene, const char *name, bool caching) {
        scene->stage.cache_bytes = caching ? 1 << 20 : 0;
        struct buddyclient *client = stage_client(&scene->stage, name, TIMEOUT_MS);
        if (!client)
                stage_fail(&scene->stage, "no client");
        return client;
}

/* A failed call leaves a reason behind, in memory of this thread's. */
static void witness_works(struct scene *scene) {
        struct buddyclient_range range;
        need(scene, "the witness's alloc", buddyclient_alloc(scene->witness, PAGE, &range));
        need(scene, "the witness's release", buddyclient_release(scene->witness, &range));
}

static void expect_error(struct scene *scene, const char *name, int result, const char *call) {
        static const int errors[] = {-ENOMEM, -EMFILE, -ENOTCONN, -EPROTO};
        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
                if (result == errors[i])
                        return;
        stage_fail(&scene->stage, "%s, %s failed: %d (%s)", name, call, result,
                buddyclient_detail(scene->client));
}

static void expect_usage(struct scene *scene, const struct usage *before, const char *name,
        uint64_t at, const char *call) {
        struct usage now = usage_here();
        if (!usage_equal(before, &now))
                stage_fail(&scene->stage,
                        "%s, call %lu (%s) failed: %d descriptors, %ld allocations, %ld bytes "
                        "mapped more than before",
                        name, (unsigned long)at, call, now.descriptors - before->descriptors,
                        (long)(now.blocks - before->blocks), (long)(now.mapped - before->mapped));
}

static void expect_nothing_held(struct scene *scene, const char *name) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        uint64_t deadline = now_us() + END_US;
        buddyclient_unpublish(scene->witness, "key");
        do {
                need(scene, "stats", buddyclient_stats(scene->witness, &stats));
                if (now_us() > deadline)
                        stage_fail(&scene->stage, "%s: %lu bytes are still held", name,
                                (unsigned long)stats.held_bytes);
        } while (
                stats.held_bytes + stats.cached_bytes > 0 || stats.largest_free_bytes < POOL_BYTES);
}

/* True: a call failed. */
static bool try_once(
        struct scene *scene, const struct operation *operation, uint64_t at, unsigned *refusals) {
        struct usage empty = usage_here();
        scene->client = client_open(scene, "client", operation->caching);
        scene->range = scene->many[0] = untouched;
        if (operation->connected)
                need(scene, "connect", buddyclient_connect(scene->client));
        if (operation->prepare)
                operation->prepare(scene);
        struct buddyclient_range range = scene->range, first = scene->many[0];
        struct usage before = usage_here();
        faults_arm(faults_here(), at);
        int result = operation->run(scene);
        const char *call = faults_disarm(faults_here());
        if (result != 0) {
                expect_error(scene, operation->name, result, call ? call : "nothing");
                expect_usage(scene, &before, operation->name, at, call ? call : "nothing");
                if (memcmp(&range, &scene->range, sizeof range) != 0 ||
                        memcmp(&first, &scene->many[0], sizeof first) != 0)
                        stage_fail(&scene->stage, "%s: output of a failed call", operation->name);
                int again = operation->run(scene);
                if (again != 0)
                        stage_fail(&scene->stage, "%s, %s failed: %d, and the second try: %d (%s)",
                                operation->name, call, result, again,
                                buddyclient_detail(scene->client));
                (*refusals)++;
        }
        buddyclient_destroy(scene->client);
        scene->client = NULL;
        expect_usage(scene, &empty, operation->name, at, call ? call : "nothing");
        witness_works(scene);
        expect_nothing_held(scene, operation->name);
        return call != NULL;
}

static void sweep(struct scene *scene, const struct operation *operation) {
        unsigned refusals = 0;
        uint64_t at = 0;
        try_once(scene, operation, 0, &refusals); /* so that nothing is done for the first time */
        do
                if (++at > TRIES_MAX)
                        stage_fail(&scene->stage, "%s: there is no end to it", operation->name);
        while (try_once(scene, operation, at, &refusals));
        stage_check(&scene->stage);
        printf("%-22s %3lu calls failed in turn, %3u times the operation did\n", operation->name,
                (unsigned long)at - 1, refusals);
}

int main(int argc, char **argv) {
        struct scene scene = {0};
        if (argc < 2) {
                fprintf(stderr, "usage: fault_library BUDDYD [OPERATION]\n");
                return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0);
        stage_open(&scene.stage, argv[1], FAULT_BUDDYCTL, POOL_BYTES);
        stage_start(&scene.stage, false);
        stage_await(&scene.stage);
        scene.witness = client_open(&scene, "witness", false);
        need(&scene, "the witness's connect", buddyclient_connect(scene.witness));
        for (size_t i = 0; i < OPERATIONS; i++)
                if (argc < 3 || strcmp(argv[2], operations[i].name) == 0)
                        sweep(&scene, &operations[i]);
        buddyclient_destroy(scene.witness);
        stage_end(&scene.stage, SIGTERM);
        stage_close(&scene.stage);
        return 0;
}
