/* The daemon while one call to the system fails, the n-th for each n until none is left, in each part of its life. A start that
 * fails says why in one line of error, ends with 1, and leaves what it found; a daemon that runs goes on, whatever request met the
 * failure, serves others, and uses as many descriptors and as much memory as before once that client has gone; one that stops,
 * stops cleanly. Every invariant holds after each try.
 *
 * fault_daemon BUDDYD FAULTS_LIBRARY [PART] */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/buddyclient.h"
#include "fault_stage.h"
#include "fault_usage.h"
#include "faults.h"

#define POOL_BYTES (UINT64_C(4) << 20)
#define PAGE       UINT64_C(4096)
#define MANY       16u
#define TRIES_MAX  3000u
#define TIMEOUT_MS 5000
#define END_US     UINT64_C(10000000)
#define USAGE_US   UINT64_C(2000000)

struct scene {
        struct fault_stage stage;
        const char *
                doing; /* what is being tried, and which call failed, for whoever reads of a failure */
        uint64_t at;
        const char *library; /* that is preloaded */
        struct faults *faults;
        char faults_path[64];
        struct buddyclient *holder; /* holds something all the while */
        struct buddyclient *client; /* of this try */
        struct buddyclient_range range, many[MANY];
        uint64_t held;      /* by the holder */
        struct usage usual; /* the daemon's, with the holder alone */
};

static void need(struct scene *scene, const char *what, int result) {
        if (result != 0)
                stage_fail(&scene->stage, "%s, call %lu (%s): %s: %s (%s)", scene->doing,
                        (unsigned long)scene->at, scene->faults->name, what,
                        buddyclient_strerror(result), buddyclient_detail(scene->holder));
}

static struct buddyclient *client_open(struct scene *scene, const char *name) {
        struct buddyclient *client = stage_client(&scene->stage, name, TIMEOUT_MS);
        if (!client)
                stage_fail(&scene->stage, "no client");
        return client;
}

/* Only the daemon is started so. */
static void start(struct scene *scene, uint64_t at) {
        stage_empty_log(&scene->stage);
        faults_arm(scene->faults, at);
        setenv("LD_PRELOAD", scene->library, 1);
        setenv(FAULTS_STATE, scene->faults_path, 1);
        stage_start(&scene->stage, false);
        unsetenv("LD_PRELOAD");
        unsetenv(FAULTS_STATE);
}

static void expect_held(struct scene *scene, uint64_t bytes) {
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        uint64_t deadline = now_us() + END_US;
        do {
                need(scene, "stats", buddyclient_stats(scene->holder, &stats));
                if (now_us() > deadline)
                        stage_fail(&scene->stage, "%lu bytes are held, not %lu",
                                (unsigned long)(stats.held_bytes + stats.cached_bytes),
                                (unsigned long)bytes);
        } while (stats.held_bytes + stats.cached_bytes != bytes);
}

/* A client that has nothing to do with it is served. */
static void expect_service(struct scene *scene) {
        struct buddyclient_range range;
        need(scene, "another's alloc", buddyclient_alloc(scene->holder, PAGE, &range));
        need(scene, "another's release", buddyclient_release(scene->holder, &range));
}

/* ---- Starting, taking over, stopping ---- */

/* Says why, in one line, and ends with 1. */
static void expect_refusal(struct scene *scene, int status, const char *call) {
        unsigned lines = stage_log_count(&scene->stage, " error: ");
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 || lines != 1)
                stage_fail(&scene->stage, "%s failed: status 0x%x, %u lines of error",
                        call ? call : "nothing", (unsigned)status, lines);
}

static void expect_nothing_left(struct scene *scene, const char *call) {
        struct stat stat;
        unsigned left = stage_objects(&scene->stage);
        if (left > 0 || lstat(scene->stage.socket, &stat) == 0)
                stage_fail(&scene->stage, "%s failed: %u objects and %s left",
                        call ? call : "nothing", left, left > 0 ? "maybe a socket" : "a socket");
}

/* True: a call failed. */
static bool try_start(struct scene *scene, uint64_t at, unsigned *refusals) {
        int status = 0;
        start(scene, at);
        bool ready = stage_await_or_ended(&scene->stage, &status);
        const char *call = faults_disarm(scene->faults);
        if (ready) {
                stage_check(&scene->stage);
                stage_end(&scene->stage, SIGTERM);
        } else {
                expect_refusal(scene, status, call);
                (*refusals)++;
        }
        expect_nothing_left(scene, call);
        return call != NULL;
}

static void begin(struct scene *scene) {
        start(scene, 0);
        stage_await(&scene->stage);
        scene->stage.cache_bytes = 0;
        scene->holder = client_open(scene, "holder");
        need(scene, "connect", buddyclient_connect(scene->holder));
        struct buddyclient_range range;
        if (buddyclient_lookup(scene->holder, "no such key", &range) != -ENOENT)
                stage_fail(&scene->stage, "a key that is not there was found");
        need(scene, "alloc", buddyclient_alloc(scene->holder, PAGE, &range));
        need(scene, "publish", buddyclient_publish(scene->holder, "key", &range));
        need(scene, "alloc_many", buddyclient_alloc_many(scene->holder, 2 * PAGE, 4, scene->many));
        scene->held = PAGE + 4 * 2 * PAGE;
}

static void end(struct scene *scene) {
        need(scene, "unpublish", buddyclient_unpublish(scene->holder, "key"));
        buddyclient_destroy(scene->holder);
        stage_end(&scene->stage, SIGTERM);
        expect_nothing_left(scene, NULL);
}

static bool try_take_over(struct scene *scene, uint64_t at, unsigned *refusals) {
        int status = 0;
        if (scene->stage.daemon > 0)
                stage_end(&scene->stage, SIGKILL);
        start(scene, at);
        bool ready = stage_await_or_ended(&scene->stage, &status);
        const char *call = faults_disarm(scene->faults);
        if (ready) {
                expect_held(scene, scene->held);
                expect_service(scene);
                stage_check(&scene->stage);
                return call != NULL;
        }
        expect_refusal(scene, status, call);
        if (stage_objects(&scene->stage) != 2)
                stage_fail(&scene->stage, "%s failed, and %u objects are left", call,
                        stage_objects(&scene->stage));
        (*refusals)++;
        return true;
}

static bool try_stop(struct scene *scene, uint64_t at, unsigned *refusals) {
        (void)refusals;
        begin(scene);
        faults_arm(scene->faults, at);
        stage_end(&scene->stage, SIGTERM);
        const char *call = faults_disarm(scene->faults);
        expect_nothing_left(scene, call);
        buddyclient_destroy(scene->holder);
        return call != NULL;
}

/* ---- Requests ---- */

struct request_part {
        const char *name;
        bool caching;
        bool connected; /* before */
        void (*prepare)(struct scene *scene);
        int (*run)(struct scene *scene);
};

static int run_connect(struct scene *scene) {
        return buddyclient_connect(scene->client);
}

static int run_alloc(struct scene *scene) {
        return buddyclient_alloc(scene->client, PAGE, &scene->range);
}

/* Of a part of the pool that nobody has used yet. */
static int run_alloc_large(struct scene *scene) {
        return buddyclient_alloc(scene->client, UINT64_C(2) << 20, &scene->range);
}

static int run_alloc_many(struct scene *scene) {
        struct buddyclient_range many[MANY];
        return buddyclient_alloc_many(scene->client, PAGE, MANY, many);
}

static void prepare_range(struct scene *scene) {
        need(scene, "alloc", run_alloc(scene));
}

static int run_release(struct scene *scene) {
        return buddyclient_release(scene->client, &scene->range);
}

static int run_attach(struct scene *scene) {
        return buddyclient_attach(scene->client, &scene->many[0]);
}

static int run_give(struct scene *scene) {
        int result = buddyclient_give(scene->client, &scene->range, buddyclient_id(scene->holder));
        if (result == 0)
                need(scene, "release", buddyclient_release(scene->holder, &scene->range));
        return result;
}

static int run_publish(struct scene *scene) {
        int result = buddyclient_publish(scene->client, "other key", &scene->range);
        if (result == 0)
                need(scene, "unpublish", buddyclient_unpublish(scene->client, "other key"));
        return result;
}

static int run_lookup(struct scene *scene) {
        return buddyclient_lookup(scene->client, "key", &scene->range);
}

static int run_find(struct scene *scene) {
        uint32_t peer;
        return buddyclient_find(scene->client, "holder", &peer);
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

/* A wait that is not served, and one that gives up. */
static int run_wait(struct scene *scene) {
        int result = buddyclient_alloc_wait(scene->client, POOL_BYTES, 1, &scene->range);
        return result == -ETIMEDOUT ? 0 : result;
}

/* With at most three words. */
static int ctl(struct scene *scene, const char *const words[]) {
        char *arguments[9] = {(char *)(uintptr_t)scene->stage.buddyctl, (char[]){"--socket"},
                scene->stage.socket, (char[]){"--pool"}, scene->stage.pool};
        for (size_t i = 0; words[i]; i++)
                arguments[5 + i] = (char *)(uintptr_t)words[i];
        extern char **environ;
        posix_spawn_file_actions_t quiet;
        pid_t process;
        int status = -1;
        posix_spawn_file_actions_init(&quiet);
        posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
        if (posix_spawn(&process, arguments[0], &quiet, NULL, arguments, environ) == 0)
                waitpid(process, &status, 0);
        posix_spawn_file_actions_destroy(&quiet);
        if (!WIFEXITED(status) || WEXITSTATUS(status) == 4)
                stage_fail(&scene->stage, "buddyctl %s: status 0x%x", words[0], (unsigned)status);
        return WEXITSTATUS(status);
}

#define CTL(...) ctl(scene, (const char *const[]){__VA_ARGS__, NULL})

static int run_ctl_check(struct scene *scene) {
        return CTL("check");
}

static int run_ctl_stats(struct scene *scene) {
        return CTL("stats");
}

static int run_ctl_clients(struct scene *scene) {
        return CTL("clients");
}

static int run_ctl_ranges(struct scene *scene) {
        return CTL("ranges");
}

static int run_ctl_map(struct scene *scene) {
        return CTL("map", "--by", "client");
}

static int run_ctl_metrics(struct scene *scene) {
        return CTL("metrics");
}

static int run_ctl_quota(struct scene *scene) {
        return CTL("quota", "--set", "user-keys=100");
}

static int run_ctl_kick(struct scene *scene) {
        char id[16];
        snprintf(id, sizeof id, "%u", buddyclient_id(scene->client));
        return CTL("kick", id);
}

/* What is refused may have been done: whoever asks for the end of it again gets there. */
static int run_ctl_drain(struct scene *scene) {
        int result = CTL("drain");
        for (int tries = 0; CTL("drain", "--off") != 0; tries++)
                if (tries == 3)
                        stage_fail(&scene->stage, "a drained pool stays so");
        return result;
}

/* Only a lazy pool is trimmed. */
static int run_ctl_trim(struct scene *scene) {
        int result = CTL("trim");
        return scene->stage.lazy ? result : 0;
}

static int run_ctl_grow(struct scene *scene) {
        char bytes[24];
        struct buddyclient_stats stats = {.struct_size = sizeof stats};
        need(scene, "stats", buddyclient_stats(scene->holder, &stats));
        snprintf(bytes, sizeof bytes, "%lu", (unsigned long)(stats.size_bytes + PAGE));
        return CTL("grow", bytes);
}

static const struct request_part requests[] = {
        {"accept and hello", false, false, NULL, run_connect},
        {"the same with a cache", true, false, NULL, run_connect},
        {"alloc", false, true, NULL, run_alloc},
        {"alloc with a cache", true, true, NULL, run_alloc},
        {"alloc of what is new", false, true, NULL, run_alloc_large},
        {"alloc of many", false, true, NULL, run_alloc_many},
        {"alloc that waits", false, true, NULL, run_wait},
        {"release", false, true, prepare_range, run_release},
        {"attach", false, true, NULL, run_attach},
        {"give", false, true, prepare_range, run_give},
        {"publish, unpublish", false, true, prepare_range, run_publish},
        {"lookup", false, true, NULL, run_lookup},
        {"find", false, true, NULL, run_find},
        {"stats", false, true, NULL, run_stats},
        {"goodbye", true, true, prepare_range, run_destroy},
        {"buddyctl check", false, true, NULL, run_ctl_check},
        {"buddyctl stats", false, true, NULL, run_ctl_stats},
        {"buddyctl clients", false, true, NULL, run_ctl_clients},
        {"buddyctl ranges", false, true, NULL, run_ctl_ranges},
        {"buddyctl map", false, true, NULL, run_ctl_map},
        {"buddyctl metrics", false, true, NULL, run_ctl_metrics},
        {"buddyctl quota", false, true, NULL, run_ctl_quota},
        {"buddyctl kick", true, true, prepare_range, run_ctl_kick},
        {"buddyctl drain", true, true, prepare_range, run_ctl_drain},
        {"buddyctl trim", false, true, NULL, run_ctl_trim},
        {"buddyctl grow", false, true, NULL, run_ctl_grow},
};

/* What it uses when those who have gone are forgotten. */
static struct usage usage_at_rest(struct scene *scene) {
        struct usage before, now = usage_of(scene->stage.daemon, scene->faults);
        do {
                before = now;
                pause_us(20000);
                now = usage_of(scene->stage.daemon, scene->faults);
        } while (!usage_equal(&before, &now));
        return now;
}

/* Whether the daemon uses what it used, soon after the client has gone. */
static bool usage_returns(struct scene *scene, struct usage *now) {
        uint64_t deadline = now_us() + USAGE_US;
        do
                *now = usage_of(scene->stage.daemon, scene->faults);
        while (!usage_equal(&scene->usual, now) && now_us() < deadline);
        return usage_equal(&scene->usual, now);
}

static const struct request_part *part;

/* The name of the call that failed, or NULL. */
static const char *request_once(struct scene *scene, uint64_t at, unsigned *refusals) {
        scene->stage.cache_bytes = part->caching ? 1 << 20 : 0;
        scene->client = client_open(scene, "client");
        if (part->connected)
                need(scene, "connect", buddyclient_connect(scene->client));
        if (part->prepare)
                part->prepare(scene);
        faults_arm(scene->faults, at);
        int result = part->run(scene);
        expect_service(scene);
        buddyclient_destroy(scene->client);
        expect_held(scene, scene->held);
        const char *call = faults_disarm(scene->faults);
        if (result != 0 && !call)
                stage_fail(&scene->stage, "%s: %d", part->name, result);
        *refusals += result != 0;
        stage_check(&scene->stage);
        return call;
}

/* Something that is kept from the first time on, such as a line of statistics for a failure that never was before, is no loss:
 * the same failure must not take more the second time. */
static bool try_request(struct scene *scene, uint64_t at, unsigned *refusals) {
        struct usage now;
        unsigned again = 0;
        const char *call = request_once(scene, at, refusals);
        if (at > 0 && !usage_returns(scene, &now)) {
                scene->usual = usage_at_rest(scene);
                request_once(scene, at, &again);
                if (!usage_returns(scene, &now))
                        stage_fail(&scene->stage,
                                "%s, %s failed: the daemon has %d descriptors, %ld allocations, "
                                "%ld bytes mapped more than before",
                                part->name, call ? call : "nothing",
                                now.descriptors - scene->usual.descriptors,
                                (long)(now.blocks - scene->usual.blocks),
                                (long)(now.mapped - scene->usual.mapped));
        }
        if (at == 0)
                scene->usual = usage_at_rest(scene);
        return call != NULL;
}

/* ---- The whole ---- */

typedef bool try_once(struct scene *scene, uint64_t at, unsigned *refusals);

static void sweep(struct scene *scene, const char *name, try_once *try) {
        unsigned refusals = 0;
        scene->doing = name;
        scene->at = 0;
        try(scene, 0, &refusals); /* so that nothing is done for the first time */
        do
                if (++scene->at > TRIES_MAX)
                        stage_fail(&scene->stage, "%s: there is no end to it", name);
        while (try(scene, scene->at, &refusals));
        printf("%-22s %4lu calls failed in turn, %4u times it was refused\n", name,
                (unsigned long)scene->at - 1, refusals);
}

static void run_parts(struct scene *scene, const char *only) {
        if (!only || strcmp(only, "start") == 0)
                sweep(scene, "start", try_start);
        if (!only || strcmp(only, "stop") == 0)
                sweep(scene, "stop", try_stop);
        begin(scene);
        if (!only || strcmp(only, "take-over") == 0)
                sweep(scene, "take-over", try_take_over);
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
                part = &requests[i];
                if (!only || strcmp(only, part->name) == 0)
                        sweep(scene, part->name, try_request);
        }
        end(scene);
}

int main(int argc, char **argv) {
        static struct scene scene;
        if (argc < 3) {
                fprintf(stderr, "usage: fault_daemon BUDDYD FAULTS_LIBRARY [PART]\n");
                return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0);
        scene.library = argv[2];
        stage_open(&scene.stage, argv[1], FAULT_BUDDYCTL, POOL_BYTES);
        snprintf(scene.stage.max_size, sizeof scene.stage.max_size, "8M"); /* room to grow */
        snprintf(scene.faults_path, sizeof scene.faults_path, "%s/faults", scene.stage.folder);
        scene.faults = faults_share(scene.faults_path);
        if (!scene.faults)
                stage_fail(&scene.stage, "%s: %s", scene.faults_path, strerror(errno));
        for (unsigned lazy = 0; lazy < 2; lazy++) {
                printf("pool that is reserved %s\n", lazy ? "as it is used" : "at the start");
                scene.stage.lazy = lazy;
                run_parts(&scene, argc > 3 ? argv[3] : NULL);
        }
        stage_close(&scene.stage);
        return 0;
}
