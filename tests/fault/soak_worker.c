/* See soak_worker.h. */
#include "soak_worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fault_marks.h"

#define PAGE         UINT64_C(4096)
#define MANY         8
#define TIMEOUT_MS   20000
#define UNPRIVILEGED 64000 /* the first of three uids that need no entry anywhere */

const char *const soak_call_names[SOAK_CALLS] = {"alloc", "alloc_wait", "alloc_many", "release",
        "attach", "give", "publish", "lookup", "unpublish", "stats", "bad frames", "half frames",
        "floods", "silence"};

struct held {
        struct buddyclient_range range;
        uint64_t serial;
};

struct worker {
        const struct fault_stage *stage;
        struct soak_board *board;
        unsigned slot, seed;
        struct buddyclient *client;
        struct held held[SOAK_HELD];
        unsigned count;
};

uid_t soak_uid(unsigned slot) {
        return geteuid() != 0 || slot % 4 == 0 ? geteuid() : UNPRIVILEGED + slot % 4;
}

static unsigned chance(struct worker *worker, unsigned of) {
        return (unsigned)rand_r(&worker->seed) % of;
}

static void fail(struct worker *worker, const char *what, int result) {
        if (atomic_fetch_add(&worker->board->failures, 1) == 0)
                snprintf(worker->board->failure, sizeof worker->board->failure, "%s: %d (%s)", what,
                        result, worker->client ? buddyclient_detail(worker->client) : "");
}

/* Counts it. Refusals that a call may get here are those in the list; 0 ends it. */
static int judge(struct worker *worker, enum soak_call call, int result, const int *allowed) {
        struct soak_board *board = worker->board;
        atomic_fetch_add_explicit(&board->calls[call], 1, memory_order_relaxed);
        if (result == 0)
                return 0;
        atomic_fetch_add_explicit(&board->refused[call], 1, memory_order_relaxed);
        if (-result > 0 && -result < SOAK_ERRORS)
                atomic_fetch_add_explicit(&board->errors[-result], 1, memory_order_relaxed);
        while (*allowed != 0 && *allowed != result)
                allowed++;
        if (*allowed == 0)
                fail(worker, soak_call_names[call], result);
        return result;
}

/* ---- Ranges ---- */

static void keep(struct worker *worker, const struct buddyclient_range *range, uint64_t serial) {
        if (serial == 0) {
                serial = atomic_fetch_add(&worker->board->serial, 1) + 1;
                marks_write(worker->client, range, serial);
        }
        worker->held[worker->count++] = (struct held){*range, serial};
        if (chance(worker, 4) == 0)
                worker->board->offers[worker->slot] = *range;
}

static void take(struct worker *worker) {
        static const int allowed[] = {-ENOMEM, -ETIMEDOUT, -EDQUOT, 0};
        struct buddyclient_range many[MANY];
        unsigned how = chance(worker, 16);
        uint64_t length = PAGE << chance(worker, 7);
        if (worker->count + MANY > SOAK_HELD)
                return;
        if (how == 0) {
                if (judge(worker, SOAK_ALLOC_MANY,
                            buddyclient_alloc_many(worker->client, PAGE, MANY, many), allowed) == 0)
                        for (unsigned i = 0; i < MANY; i++)
                                keep(worker, &many[i], 0);
        } else if (how < 3) {
                int wait_ms = (int)chance(worker, 20);
                length <<= 4;
                if (judge(worker, SOAK_ALLOC_WAIT,
                            buddyclient_alloc_wait(worker->client, length, wait_ms, many),
                            allowed) == 0)
                        keep(worker, many, 0);
        } else if (judge(worker, SOAK_ALLOC, buddyclient_alloc(worker->client, length, many),
                           allowed) == 0) {
                keep(worker, many, 0);
        }
}

/* What this process took or attached to bears the mark of whoever took it, until the last hold goes. */
static void check(struct worker *worker, const struct held *held) {
        uint64_t page, found;
        if (!marks_hold(worker->client, &held->range, held->serial, &page, &found))
                fail(worker, "a page that is held bears another's mark", 0);
        atomic_fetch_add_explicit(
                &worker->board->pages_checked, held->range.length / PAGE, memory_order_relaxed);
}

static void give_back(struct worker *worker, unsigned which) {
        static const int allowed[] = {0};
        check(worker, &worker->held[which]);
        judge(worker, SOAK_RELEASE, buddyclient_release(worker->client, &worker->held[which].range),
                allowed);
        worker->held[which] = worker->held[--worker->count];
}

/* The receiver never hears of it: the daemon returns it when that process ends. */
static void hand_over(struct worker *worker, unsigned which) {
        static const int allowed[] = {-ENOENT, -EDQUOT, 0};
        uint32_t peer = atomic_load(&worker->board->sessions[chance(worker, SOAK_WORKERS)]);
        struct buddyclient_range range = worker->held[which].range;
        if (peer == 0 || peer == buddyclient_id(worker->client))
                return;
        if (judge(worker, SOAK_GIVE, buddyclient_give(worker->client, &range, peer), allowed) == 0)
                worker->held[which] = worker->held[--worker->count];
}

static const char *some_key(struct worker *worker, char key[32]) {
        snprintf(key, 32, "soak-%u-%u", (unsigned)geteuid(), chance(worker, SOAK_KEYS));
        return key;
}

static const int sharing_allowed[] = {-ENOENT, -ESTALE, -EINVAL, -ENOSPC, -EDQUOT, 0};

/* A hold on what another one has, or a key. */
static void share_quietly(struct worker *worker) {
        struct buddyclient_range range = worker->board->offers[chance(worker, SOAK_WORKERS)];
        char key[32];
        int result;
        if (worker->count + MANY > SOAK_HELD)
                return;
        if (chance(worker, 2) == 0)
                result = judge(worker, SOAK_LOOKUP,
                        buddyclient_lookup(worker->client, some_key(worker, key), &range),
                        sharing_allowed);
        else
                result = judge(worker, SOAK_ATTACH, buddyclient_attach(worker->client, &range),
                        sharing_allowed);
        if (result != 0)
                return;
        struct held held = {range, marks_serial(worker->client, &range)};
        check(worker, &held);
        keep(worker, &range, held.serial);
}

static void share(struct worker *worker) {
        struct buddyclient_range range;
        char key[32];
        unsigned how = chance(worker, 5);
        if (how == 0 && worker->count > 0) {
                range = worker->held[chance(worker, worker->count)].range;
                judge(worker, SOAK_PUBLISH,
                        buddyclient_publish(worker->client, some_key(worker, key), &range),
                        sharing_allowed);
        } else if (how == 1) {
                judge(worker, SOAK_UNPUBLISH,
                        buddyclient_unpublish(worker->client, some_key(worker, key)),
                        sharing_allowed);
        } else if (how == 2 && worker->count > 0) {
                hand_over(worker, chance(worker, worker->count));
        } else {
                share_quietly(worker);
        }
}

/* ---- Misbehaving ---- */

static int dial(const struct fault_stage *stage) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, stage->socket, sizeof stage->socket);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
                return fd;
        if (fd >= 0)
                close(fd);
        return -1;
}

/* A ping with an id, for whoever has said no hello, too. */
static const uint8_t ping[] = {4, 0, 0, 0, 0x08, 1, 0x5a, 0};

static void misbehave(struct worker *worker) {
        static const int none[] = {0};
        static const enum soak_call calls[] = {
                SOAK_BAD_FRAME, SOAK_HALF_FRAME, SOAK_FLOOD, SOAK_SILENCE};
        unsigned how = chance(worker, 4);
        uint8_t bytes[512];
        int fd = dial(worker->stage);
        if (fd < 0)
                return;
        for (size_t i = 0; i < sizeof bytes; i++)
                bytes[i] = (uint8_t)rand_r(&worker->seed);
        switch (calls[how]) {
        case SOAK_BAD_FRAME:
                if (chance(worker, 2) == 0)
                        bytes[2] = bytes[3] = 0; /* a length that is possible */
                send(fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
                break;
        case SOAK_HALF_FRAME:
                send(fd, ping, 1 + chance(worker, 6), MSG_NOSIGNAL | MSG_DONTWAIT);
                break;
        case SOAK_FLOOD: /* as much as it takes, and reads nothing */
                for (unsigned i = 0;
                        i < 100000 && send(fd, ping, sizeof ping, MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
                        i++)
                        ;
                break;
        default:
                break;
        }
        judge(worker, calls[how], 0, none);
        pause_us(chance(worker, 20000));
        close(fd);
}

/* ---- Life ---- */

static void work(struct worker *worker) {
        static const int none[] = {0};
        unsigned what = chance(worker, 64);
        if (what == 0) {
                misbehave(worker);
        } else if (what == 1) {
                struct buddyclient_stats stats = {.struct_size = sizeof stats};
                judge(worker, SOAK_STATS, buddyclient_stats(worker->client, &stats), none);
                if (stats.held_bytes + stats.cached_bytes + stats.free_bytes != stats.size_bytes)
                        fail(worker, "held + cached + free is not size", 0);
        } else if (what < 10) {
                share(worker);
        } else if (chance(worker, SOAK_HELD) >= worker->count) {
                take(worker);
        } else {
                give_back(worker, chance(worker, worker->count));
        }
}

static void connect_anew(struct worker *worker, uint64_t cache_bytes) {
        worker->client = stage_client(worker->stage, "soak", TIMEOUT_MS);
        buddyclient_set_cache_bytes(worker->client, cache_bytes);
        int result = buddyclient_connect(worker->client);
        if (result != 0) {
                fail(worker, "connect", result);
                _exit(1);
        }
}

static void begin(struct worker *worker) {
        connect_anew(worker, worker->slot % 3 == 2 ? 0 : 1 << 20);
        worker->count = 0;
        atomic_store(&worker->board->sessions[worker->slot], buddyclient_id(worker->client));
}

/* Begins again with nothing, without a cache and where nobody gives it anything, takes a few, attaches to others', and writes down
 * what it holds. */
static void settle(struct worker *worker) {
        struct soak_slot *slot = &worker->board->slots[worker->slot];
        atomic_store(&worker->board->sessions[worker->slot], 0);
        buddyclient_destroy(worker->client);
        worker->count = 0;
        connect_anew(worker, 0);
        for (unsigned tries = 0; tries < SOAK_HELD; tries++) {
                if (tries % 4 == 3)
                        share_quietly(worker);
                else
                        take(worker);
                if (worker->count > 1 && chance(worker, 3) == 0)
                        give_back(worker, chance(worker, worker->count));
        }
        for (unsigned i = 0; i < worker->count; i++) {
                check(worker, &worker->held[i]);
                slot->held[i] = worker->held[i].range;
        }
        slot->count = worker->count;
        atomic_store(&slot->quiet, true);
        while (atomic_load(&worker->board->phase) != SOAK_LEAVE)
                pause_us(2000);
        while (worker->count > worker->slot) /* some return all, others only some */
                give_back(worker, 0);
}

void soak_unpublish(struct buddyclient *client) {
        char key[32];
        for (unsigned i = 0; i < SOAK_KEYS; i++) {
                snprintf(key, sizeof key, "soak-%u-%u", (unsigned)geteuid(), i);
                buddyclient_unpublish(client, key);
        }
}

void soak_worker_run(const struct fault_stage *stage, struct soak_board *board, unsigned slot) {
        struct worker worker = {.stage = stage,
                .board = board,
                .slot = slot,
                .seed = (unsigned)getpid() * 2654435761u};
        uid_t uid = soak_uid(slot);
        if (uid != geteuid() && (setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0))
                _exit(1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        begin(&worker);
        while (atomic_load(&board->phase) == SOAK_LOAD) {
                work(&worker);
                if (chance(&worker, 20000) == 0) { /* a client may also leave as it should */
                        buddyclient_destroy(worker.client);
                        begin(&worker);
                }
        }
        settle(&worker);
        if (slot % 2)
                _exit(0); /* the daemon is to clear up */
        buddyclient_destroy(worker.client);
        _exit(0);
}
