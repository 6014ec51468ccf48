/* Sequences of requests, of several clients, to the real server: every request with whatever is in its fields, bytes that are no
 * request, connections that end, sessions that are resumed. The walk over all invariants follows each step. In the
 * end every client leaves, and what they held, published and left behind is given back: then the pool is whole again. */
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "actor.h"
#include "fuzz.h"
#include "live_server.h"
#include "proto/cache_area.h"
#include "proto/frame.h"
#include "tape.h"

#define ACTORS     4u
#define STEPS_MAX  48u
#define RANGES     16u /* that replies told of, and later requests name */
#define SESSIONS   32u
#define BATCH      8u
#define PATIENCE_S 30
#define PIECE_MAX  600u

struct known_session {
        uint32_t session;
        uint8_t token[MESSAGE_TOKEN_BYTES];
};

static struct actor actors[ACTORS] = {{.fd = -1}, {.fd = -1}, {.fd = -1}, {.fd = -1}};
static struct actor keeper = {.fd = -1}; /* well-behaved, of every input */
static struct message_range ranges[RANGES];
static unsigned range_count;
static struct known_session sessions[SESSIONS];
static unsigned session_count;
static uint64_t next_id;

/* ---- What replies tell ---- */

static void note_range(uint64_t place, uint64_t generation) {
        uint64_t offset = place & ~(LIVE_PAGE - 1);
        ranges[range_count++ % RANGES] =
                (struct message_range){offset, LIVE_PAGE << (place & 63), generation};
}

static void note_welcome(struct actor *actor, const struct reply_welcome *welcome) {
        if (!welcome->token)
                return;
        actor->session = welcome->session;
        struct known_session *known = &sessions[session_count++ % SESSIONS];
        known->session = welcome->session;
        memcpy(known->token, welcome->token, MESSAGE_TOKEN_BYTES);
}

static void hears(struct actor *actor, const struct reply *reply) {
        if (reply->kind == REPLY_WELCOME)
                note_welcome(actor, &reply->welcome);
        else if (reply->kind == REPLY_RANGES)
                for (size_t i = 0; i < reply->ranges.count; i++)
                        note_range(reply->ranges.places[i], reply->ranges.generations[i]);
        else if (reply->kind == REPLY_RANGE)
                note_range(reply->range.offset, reply->range.generation);
        else if (reply->kind == REPLY_CHECK)
                fuzz_require(reply->check.fault[0] == '\0');
}

/* ---- Requests from the tape ---- */

static struct message_range some_range(struct tape *tape) {
        struct message_range range = ranges[tape_byte(tape) % RANGES];
        switch (tape_byte(tape) % 16) {
        case 12:
                range.generation += 1u + tape_byte(tape);
                break;
        case 13:
                range.offset += LIVE_PAGE * tape_byte(tape);
                break;
        case 14:
                range.length = LIVE_PAGE << tape_byte(tape) % 64;
                break;
        case 15:
                range = (struct message_range){
                        tape_number(tape, 8), tape_number(tape, 8), tape_number(tape, 8)};
                break;
        default:
                break;
        }
        return range;
}

static unsigned order_of(uint64_t length) {
        return length > LIVE_PAGE ? (unsigned)__builtin_ctzll(length) - 12 : 0;
}

static struct message_ranges some_ranges(struct tape *tape) {
        static uint64_t places[BATCH];
        static uint32_t generations[BATCH];
        size_t count = 1 + tape_byte(tape) % BATCH;
        for (size_t i = 0; i < count; i++) {
                struct message_range range = some_range(tape);
                places[i] = (range.offset & ~UINT64_C(63)) | order_of(range.length);
                generations[i] = (uint32_t)range.generation;
        }
        return (struct message_ranges){places, generations, count};
}

static const char *some_key(struct tape *tape) {
        static char key[64];
        unsigned which = tape_byte(tape);
        if (which % 8 == 7)
                return tape_text(tape, key, sizeof(key));
        snprintf(key, sizeof(key), "key-%u", which % 4);
        return key;
}

static uint32_t some_session(struct tape *tape) {
        unsigned which = tape_byte(tape);
        return which % 8 == 7 ? which / 8 : actors[which % ACTORS].session;
}

static struct request_hello some_hello(struct tape *tape) {
        static char name[80];
        unsigned how = tape_byte(tape);
        struct request_hello hello = {
                .version = how % 32 == 31 ? how : PROTOCOL_VERSION,
                .features = how / 4 % 2 ? FEATURE_RESUMES : 0,
                .pool = how % 64 == 30 ? "other" : LIVE_POOL,
                .name = how / 8 % 2 ? tape_text(tape, name, sizeof(name)) : "same",
                .access = how % 4 == 3 ? ACCESS_READ_WRITE : (enum hello_access)(how % 4),
                .cache_bytes = how / 16 % 2 ? 1 << 16 : 0,
        };
        if (how / 32 % 4 == 1) {
                const struct known_session *known = &sessions[tape_byte(tape) % SESSIONS];
                hello.session = known->session;
                hello.token = known->token;
        }
        return hello;
}

static struct request_alloc some_alloc(struct tape *tape) {
        unsigned how = tape_byte(tape);
        struct request_alloc alloc = {
                .length = how % 8 == 7 ? tape_number(tape, 8) : LIVE_PAGE << how % 8,
                .count = how / 8 % 4 == 3 ? (uint32_t)tape_number(tape, 2) : 1u + how / 8 % 4,
                .wait = how / 32 % 4 == 1,
        };
        if (alloc.wait) {
                alloc.count = how / 128 ? alloc.count : 1;
                alloc.timeout_ms = (int64_t)tape_byte(tape) - 1;
                alloc.waited_ms = tape_byte(tape);
        }
        alloc.spare = tape_byte(tape) % 4;
        return alloc;
}

static struct request some_request(struct tape *tape) {
        struct request request = {.id = ++next_id,
                .kind = REQUEST_HELLO + tape_byte(tape) % (REQUEST_KIND_END - REQUEST_HELLO)};
        switch (request.kind) {
        case REQUEST_HELLO:
                request.hello = some_hello(tape);
                break;
        case REQUEST_ALLOC:
                request.alloc = some_alloc(tape);
                break;
        case REQUEST_RELEASE:
                request.release.ranges = some_ranges(tape);
                request.release.one_way = tape_byte(tape) & 1;
                break;
        case REQUEST_ATTACH:
                request.attach.range = some_range(tape);
                break;
        case REQUEST_GIVE:
                request.give.ranges = some_ranges(tape);
                request.give.peer = some_session(tape);
                break;
        case REQUEST_LOOKUP:
        case REQUEST_PUBLISH:
        case REQUEST_UNPUBLISH:
                request.publish.key = some_key(tape);
                request.publish.range = some_range(tape);
                break;
        case REQUEST_FIND:
                request.find.name = tape_byte(tape) % 2 ? "same" : some_key(tape);
                break;
        case REQUEST_CLIENTS:
        case REQUEST_HOLDS:
                request.holds = (struct request_list){some_session(tape),
                        tape_byte(tape) % 4 ? 0 : tape_number(tape, 8), tape_byte(tape)};
                break;
        case REQUEST_HOLD:
                request.hold.length = LIVE_PAGE * tape_byte(tape);
                break;
        case REQUEST_UNHOLD:
                request.unhold.offset = some_range(tape).offset;
                break;
        case REQUEST_UNCACHE:
                request.uncache =
                        (struct request_uncache){tape_byte(tape) % 10, tape_byte(tape) % 70};
                break;
        default:
                break;
        }
        return request;
}

/* ---- Steps ---- */

/* A cache as a client would hand it over, with whatever is in it; now and then one that is wrong. */
static int some_cache(const struct actor *actor, struct tape *tape) {
        uint64_t bytes = cache_area_bytes(LIVE_PAGES_MAX);
        unsigned how = tape_byte(tape);
        int fd = memfd_create(CACHE_AREA_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        fuzz_require(fd >= 0 && ftruncate(fd, (off_t)(how % 16 == 15 ? bytes / 2 : bytes)) == 0);
        fuzz_require(fchmod(fd, how % 16 == 14 ? 0640 : 0600) == 0);
        for (unsigned i = session_count > SESSIONS ? session_count - SESSIONS : 0;
                i < session_count; i++)
                if (sessions[i % SESSIONS].session == actor->session)
                        fuzz_require(pwrite(fd, sessions[i % SESSIONS].token, MESSAGE_TOKEN_BYTES,
                                             0) == MESSAGE_TOKEN_BYTES);
        for (unsigned i = 0; i < how / 16; i++) {
                struct message_range range = some_range(tape);
                unsigned order = order_of(range.length) % CACHE_ORDERS;
                uint32_t page = (uint32_t)(range.offset / LIVE_PAGE) % LIVE_PAGES;
                uint64_t slot = cache_slot_pack(page, (uint32_t)range.generation);
                uint64_t word = cache_word_pack(range.generation, order) | tape_number(tape, 1)
                                                                                   << 60;
                size_t at = offsetof(struct cache_area, slots) +
                            (order * CACHE_SLOTS + tape_byte(tape) % CACHE_SLOTS) * sizeof(slot);
                fuzz_require(pwrite(fd, &slot, sizeof(slot), (off_t)at) == sizeof(slot));
                at = offsetof(struct cache_area, words) + cache_word_index(page) * sizeof(uint64_t);
                if (how % 16 != 15)
                        fuzz_require(pwrite(fd, &word, sizeof(word), (off_t)at) == sizeof(word));
        }
        if (how % 16 != 13)
                fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
        return fd;
}

/* A request that operates on the pool would outlive the input: the next one meets a pool that drains, has grown, or has lost its
 * keeper. */
static bool operates(enum request_kind kind) {
        return kind == REQUEST_KICK || kind == REQUEST_DRAIN || kind == REQUEST_GROW ||
               kind == REQUEST_QUOTA;
}

static bool piece_operates(const uint8_t *bytes, size_t length) {
        static struct arena arena;
        struct request request;
        if (!arena.bytes)
                fuzz_require(arena_init(&arena, MESSAGE_ARENA_REQUEST) == 0);
        for (size_t skip = 0; skip <= FRAME_HEADER_BYTES; skip += FRAME_HEADER_BYTES) {
                arena_reset(&arena);
                if (length > skip &&
                        request_decode(&arena, bytes + skip, length - skip, &request) == 0 &&
                        operates(request.kind))
                        return true;
        }
        return false;
}

static void send_piece(struct actor *actor, struct tape *tape, bool framed) {
        uint8_t frame[FRAME_HEADER_BYTES + PIECE_MAX];
        size_t length;
        const uint8_t *piece = tape_piece(tape, tape_byte(tape), &length);
        if (length == 0 || piece_operates(piece, length))
                return;
        memcpy(frame + FRAME_HEADER_BYTES, piece, length);
        frame_header(frame, length);
        if (framed)
                actor_send_bytes(actor, frame, FRAME_HEADER_BYTES + length);
        else
                actor_send_bytes(actor, piece, length);
}

static void greet(struct actor *actor, struct tape *tape) {
        struct request request = {
                .id = ++next_id, .kind = REQUEST_HELLO, .hello = some_hello(tape)};
        actor_send(actor, &request, -1);
}

static void step(struct tape *tape) {
        uint8_t how = tape_byte(tape);
        struct actor *actor = &actors[how % ACTORS];
        if (actor->fd < 0) {
                actor_connect(actor);
                greet(actor, tape);
                return;
        }
        struct request request;
        switch (how / ACTORS % 16) {
        case 15:
                actor_end(actor, hears);
                break;
        case 14:
                send_piece(actor, tape, true);
                break;
        case 13:
                send_piece(actor, tape, false);
                break;
        case 12: {
                int fd = some_cache(actor, tape);
                request = (struct request){.id = ++next_id, .kind = REQUEST_CACHE};
                actor_send(actor, &request, fd);
                close(fd);
                break;
        }
        default:
                request = some_request(tape);
                if (!operates(request.kind))
                        actor_send(actor, &request, -1);
        }
}

/* Every invariant, while nobody is served. */
static void walk(void) {
        struct request request = {.kind = REQUEST_CHECK};
        const struct reply *reply = actor_ask(&keeper, &request);
        fuzz_require(reply->kind == REPLY_CHECK && reply->check.fault[0] == '\0');
}

/* ---- Clearing up ---- */

static void hello_as(struct actor *actor, const char *name, bool read_only, unsigned known) {
        struct request request = {.kind = REQUEST_HELLO,
                .hello = {.version = PROTOCOL_VERSION,
                        .pool = LIVE_POOL,
                        .name = name,
                        .access = read_only ? ACCESS_READ_ONLY : ACCESS_READ_WRITE}};
        if (known < SESSIONS) {
                request.hello.session = sessions[known].session;
                request.hello.token = sessions[known].token;
        }
        actor_connect(actor);
        const struct reply *reply = actor_ask(actor, &request);
        fuzz_require(known < SESSIONS || reply->kind == REPLY_WELCOME);
        if (reply->kind == REPLY_WELCOME)
                hears(actor, reply);
}

/* A session whose client could still come back is ended as its client would. True: there was one. */
static bool end_orphan(void) {
        static struct actor heir = {.fd = -1};
        struct request request = {.kind = REQUEST_CLIENTS};
        const struct reply *reply = actor_ask(&keeper, &request);
        fuzz_require(reply->kind == REPLY_CLIENTS);
        for (size_t i = 0; i < reply->clients.count; i++) {
                const struct reply_client client = reply->clients.entries[i];
                if (client.connected || client.session == keeper.session || client.session == 1)
                        continue;
                for (unsigned known = 0; known < SESSIONS; known++) {
                        char name[80];
                        if (sessions[known].session != client.session)
                                continue;
                        snprintf(name, sizeof(name), "%s", client.name);
                        hello_as(&heir, name, client.read_only, known);
                        actor_end(&heir, hears); /* without saying that it resumes: that ends it */
                        return true;
                }
        }
        return false;
}

/* A hold of a key or of the operator. True: there was one. */
static bool drop_hold(void) {
        struct request request = {.kind = REQUEST_HOLDS};
        const struct reply *reply = actor_ask(&keeper, &request);
        fuzz_require(reply->kind == REPLY_HOLDS);
        char key[256];
        for (size_t i = 0; i < reply->holds.count; i++) {
                const struct reply_hold hold = reply->holds.entries[i];
                struct request drop = {.kind = REQUEST_UNHOLD, .unhold = {hold.range.offset}};
                if (hold.session > 1)
                        continue;
                if (hold.session == 0) {
                        snprintf(key, sizeof(key), "%s", hold.key);
                        drop.kind = REQUEST_UNPUBLISH;
                        drop.unpublish = (struct request_key){.key = key};
                }
                fuzz_require(actor_ask(&keeper, &drop)->kind == REPLY_DONE);
                return true;
        }
        return false;
}

static const struct reply_stats *ask_stats(void) {
        struct request request = {.kind = REQUEST_STATS};
        const struct reply *reply = actor_ask(&keeper, &request);
        fuzz_require(reply->kind == REPLY_STATS);
        return &reply->stats;
}

static bool pool_is_whole(void) {
        const struct reply_stats *stats = ask_stats();
        fuzz_require(
                stats->held_bytes + stats->cached_bytes + stats->free_bytes == stats->size_bytes);
        return stats->free_bytes == stats->size_bytes &&
               stats->largest_free_bytes == stats->size_bytes && stats->waiters == 0 &&
               stats->orphans == 0;
}

/* What keeps the pool from being whole. */
static void print_left(void) {
        const struct reply_stats *stats = ask_stats();
        fprintf(stderr,
                "held %" PRIu64 ", cached %" PRIu64 ", largest free %" PRIu64 ", waiters %" PRIu64
                ", orphans %" PRIu64 "\n",
                stats->held_bytes, stats->cached_bytes, stats->largest_free_bytes, stats->waiters,
                stats->orphans);
        struct request request = {.kind = REQUEST_CLIENTS};
        const struct reply *reply = actor_ask(&keeper, &request);
        for (size_t i = 0; i < reply->clients.count; i++)
                fprintf(stderr, "client %" PRIu32 " '%s' %s\n", reply->clients.entries[i].session,
                        reply->clients.entries[i].name,
                        reply->clients.entries[i].connected ? "connected" : "away");
        for (unsigned i = 0; i < session_count && i < SESSIONS; i++)
                fprintf(stderr, "known: %" PRIu32 "\n", sessions[i].session);
        request = (struct request){.kind = REQUEST_HOLDS};
        reply = actor_ask(&keeper, &request);
        for (size_t i = 0; i < reply->holds.count; i++)
                fprintf(stderr, "%" PRIu32 " holds %" PRIu64 " at %" PRIu64 " '%s'\n",
                        reply->holds.entries[i].session, reply->holds.entries[i].range.length,
                        reply->holds.entries[i].range.offset, reply->holds.entries[i].key);
}

static void clear_up(void) {
        for (unsigned i = 0; i < ACTORS; i++)
                actor_end(&actors[i], hears);
        time_t until = time(NULL) + PATIENCE_S;
        while (!pool_is_whole()) {
                if (time(NULL) > until) {
                        print_left();
                        abort();
                }
                if (!end_orphan() && !drop_hold())
                        sched_yield();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
        struct tape tape = {bytes, length};
        if (keeper.fd < 0) {
                live_server_start();
                hello_as(&keeper, "keeper", false, SESSIONS);
        }
        range_count = session_count = 0;
        memset(ranges, 0, sizeof(ranges));
        memset(sessions, 0, sizeof(sessions));
        for (unsigned i = 0; i < STEPS_MAX && tape.left > 0; i++) {
                step(&tape);
                walk();
                for (unsigned each = 0; each < ACTORS; each++)
                        actor_read(&actors[each], hears);
        }
        clear_up();
        walk();
        return 0;
}
