/* Sessions that are resumed by their token: by whom, and by whom not; what a restart of the daemon leaves to clients
 * that live, and takes from those that died. By hand, so that a client can do what no library would. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/ledger.h"
#include "wire.h"

TestSuite(resume, .timeout = 60);

#define NAME   "by hand"
#define HOLDS  16
#define LENGTH 16384ull

/* What a client keeps for coming back. */
struct ticket {
        uint32_t session;
        uint8_t token[MESSAGE_TOKEN_BYTES];
        enum hello_access access;
};

static struct request hello_of(const struct scene *scene, const struct ticket *ticket) {
        struct request request = {.kind = REQUEST_HELLO};
        request.hello = (struct request_hello){.version = PROTOCOL_VERSION,
                .pool = scene->pool,
                .name = NAME,
                .access = ticket->access,
                .session = ticket->session,
                .token = ticket->session ? ticket->token : NULL};
        return request;
}

/* The reply to a hello on a new connection. */
static struct reply greeted(
        struct wire *wire, const struct scene *scene, const struct ticket *ticket) {
        struct reply reply;
        wire_open(wire, scene);
        wire_request(wire, hello_of(scene, ticket));
        cr_assert(wire_reply(wire, &reply), "closed instead of a reply to hello");
        return reply;
}

static struct ticket session_new(
        struct wire *wire, const struct scene *scene, enum hello_access access) {
        struct ticket ticket = {.access = access};
        struct reply reply = greeted(wire, scene, &ticket);
        cr_assert_eq(reply.kind, REPLY_WELCOME);
        cr_assert_not(reply.welcome.resumed);
        ticket.session = reply.welcome.session;
        memcpy(ticket.token, reply.welcome.token, sizeof ticket.token);
        wire_expect_alive(wire); /* from here on it outlives the daemon */
        return ticket;
}

static void session_resumed(
        struct wire *wire, const struct scene *scene, const struct ticket *ticket) {
        struct reply reply = greeted(wire, scene, ticket);
        cr_assert_eq(reply.kind, REPLY_WELCOME, "refused: %s",
                reply.kind == REPLY_REFUSED ? reply.refused.detail : "another reply");
        cr_assert(reply.welcome.resumed);
        cr_assert_eq(reply.welcome.session, ticket->session);
        cr_assert_arr_eq(reply.welcome.token, ticket->token, sizeof ticket->token);
        cr_assert_eq(wire->descriptor_count, 1);
}

static void session_refused(const struct scene *scene, struct ticket ticket, enum status status) {
        struct wire wire;
        struct reply reply = greeted(&wire, scene, &ticket);
        cr_assert_eq(reply.kind, REPLY_REFUSED);
        cr_assert_eq(reply.refused.status, status, "%d: %s", (int)reply.refused.status,
                reply.refused.detail);
        wire_close(&wire);
}

/* ---- What it holds ---- */

static void ranges_take(struct wire *wire, uint32_t count) {
        struct request request = {.kind = REQUEST_ALLOC};
        request.alloc = (struct request_alloc){.length = LENGTH, .count = count};
        wire_request(wire, request);
        struct reply reply;
        cr_assert(wire_reply(wire, &reply) && reply.kind == REPLY_RANGES);
        cr_assert_eq(reply.ranges.count, count);
}

static void expect_holds(struct wire *wire, uint32_t session, size_t count) {
        struct request request = {.kind = REQUEST_HOLDS, .holds = {.session = session}};
        struct reply reply;
        size_t found = 0;
        do {
                wire_request(wire, request);
                cr_assert(wire_reply(wire, &reply) && reply.kind == REPLY_HOLDS);
                for (size_t each = 0; each < reply.holds.count; each++) {
                        cr_assert_eq(reply.holds.entries[each].session, session);
                        cr_assert_eq(reply.holds.entries[each].range.length, LENGTH);
                        cr_assert_not(reply.holds.entries[each].given);
                }
                found += reply.holds.count;
                request.holds.cursor = reply.holds.next_cursor;
        } while (reply.holds.next_cursor);
        cr_assert_eq(found, count, "%zu holds, expected %zu", found, count);
}

static int64_t figure_of(const struct scene *scene, const char *name) {
        return json_member(ctl_json(scene, "stats", "--json", NULL), name)->integer;
}

static uint64_t held_bytes(const struct scene *scene) {
        return (uint64_t)figure_of(scene, "held_bytes");
}

static void await_held_bytes(const struct scene *scene, uint64_t bytes) {
        uint64_t deadline = now_ms() + PATIENCE_MS;
        while (held_bytes(scene) != bytes)
                cr_assert_lt(now_ms(), deadline, "%lu bytes held for good, expected %lu",
                        held_bytes(scene), bytes);
}

/* A process with a session of its own that holds HOLDS ranges and does nothing more. */
static pid_t holder_start(const struct scene *scene) {
        int ends[2];
        cr_assert(pipe(ends) == 0);
        pid_t process = process_fork();
        if (process == 0) {
                struct wire wire;
                session_new(&wire, scene, ACCESS_READ_WRITE);
                ranges_take(&wire, HOLDS);
                byte_write(ends[1], 1);
                for (;;)
                        pause();
        }
        cr_assert_eq(byte_read(ends[0]), 1);
        close(ends[0]);
        close(ends[1]);
        return process;
}

/* ---- Coming back ---- */

Test(resume, after_a_kill_with_all_it_holds) {
        struct scene scene;
        struct wire wires[3], again;
        struct ticket tickets[3];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "3", NULL);
        for (size_t each = 0; each < 3; each++) {
                tickets[each] = session_new(&wires[each], &scene, ACCESS_READ_WRITE);
                ranges_take(&wires[each], HOLDS);
        }
        for (unsigned round = 0; round < 3; round++) {
                scene_kill(&scene);
                scene_start(&scene, "--size", "4M", "--workers", "3", NULL);
                for (size_t each = 0; each < 3; each++) {
                        cr_assert_eq(figure_of(&scene, "orphans"), 3 - (int64_t)each);
                        cr_assert_eq(figure_of(&scene, "clients"), (int64_t)each);
                        wire_close(&wires[each]);
                        session_resumed(&wires[each], &scene, &tickets[each]);
                        expect_holds(&wires[each], tickets[each].session, HOLDS);
                }
        }
        cr_assert_not_null(strstr(scene_errors(&scene), "3 sessions, 48 ranges, 786432 bytes in"));
        cr_assert_not_null(strstr(scene_errors(&scene), "resumed"));
        expect_sound(&scene);
        session_new(&again, &scene, ACCESS_READ_WRITE);
        wire_close(&again);
        for (size_t each = 0; each < 3; each++)
                wire_close(&wires[each]);
        await_held_bytes(&scene, 0);
        scene_close(&scene);
}

/* A clean stop that keeps the pool is no different. */
Test(resume, after_an_upgrade_in_place) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--keep", NULL);
        struct ticket ticket = session_new(&wire, &scene, ACCESS_READ_WRITE);
        ranges_take(&wire, HOLDS);
        cr_assert_eq(scene_stop(&scene, SIGTERM), 0);
        wire_expect_closed(&wire, PATIENCE_MS);
        wire_close(&wire);
        scene_start(&scene, "--size", "4M", NULL);
        session_resumed(&wire, &scene, &ticket);
        expect_holds(&wire, ticket.session, HOLDS);
        wire_close(&wire);
        scene_close(&scene);
}

Test(resume, a_read_only_session_stays_read_only) {
        struct scene scene;
        struct wire wire;
        struct reply reply;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        struct ticket ticket = session_new(&wire, &scene, ACCESS_READ_ONLY);
        scene_kill(&scene);
        wire_close(&wire);
        scene_start(&scene, "--size", "4M", NULL);
        struct ticket more = ticket;
        more.access = ACCESS_READ_WRITE;
        session_refused(&scene, more, STATUS_DENIED);
        session_resumed(&wire, &scene, &ticket);
        cr_assert_eq(fcntl(wire.descriptors[0], F_GETFL) & O_ACCMODE, O_RDONLY);
        struct request request = {.kind = REQUEST_ALLOC};
        request.alloc = (struct request_alloc){.length = LENGTH, .count = 1};
        wire_request(&wire, request);
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_REFUSED);
        cr_assert_eq(reply.refused.status, STATUS_DENIED);
        wire_close(&wire);
        scene_close(&scene);
}

/* More than one worker serves, so that the two connections are often not on the same one. */
Test(resume, while_the_old_connection_is_open) {
        struct scene scene;
        struct wire wires[2];
        scene_open(&scene);
        scene_start(&scene, "--size", "1M", "--workers", "3", NULL);
        struct ticket ticket = session_new(&wires[0], &scene, ACCESS_READ_WRITE);
        ranges_take(&wires[0], 60);
        for (unsigned round = 0; round < 12; round++) {
                struct wire *old = &wires[round % 2], *new = &wires[(round + 1) % 2];
                struct request wait = {.kind = REQUEST_ALLOC};
                wait.alloc = (struct request_alloc){
                        .length = MIB, .count = 1, .wait = true, .timeout_ms = -1};
                wire_request(old, wait);
                wire_expect_alive(old);
                session_resumed(new, &scene, &ticket);
                wire_expect_closed(old, PATIENCE_MS);
                wire_close(old);
                expect_holds(new, ticket.session, 60);
                cr_assert_eq(figure_of(&scene, "waiters"), 0);
                cr_assert_eq(figure_of(&scene, "clients"), 1);
        }
        ranges_take(&wires[0], 4);
        wire_close(&wires[0]);
        await_held_bytes(&scene, 0);
        scene_close(&scene);
}

/* The other requests of a hello's packet are run where the session is, too, and in their order. */
Test(resume, with_requests_behind_the_hello) {
        struct scene scene;
        struct wire wire, others[6];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--workers", "3", NULL);
        struct ticket ticket = session_new(&wire, &scene, ACCESS_READ_WRITE);
        scene_kill(&scene);
        wire_close(&wire);
        scene_start(&scene, "--size", "4M", "--workers", "3", NULL);
        for (size_t round = 0; round < 6; round++) {
                struct wire *new = &others[round];
                uint8_t frames[512];
                struct reply reply;
                struct request hello = hello_of(&scene, &ticket), ping = {.kind = REQUEST_PING};
                hello.id = 1;
                ping.id = 2;
                ptrdiff_t length = request_encode(&hello, frames, sizeof frames);
                length += request_encode(&ping, frames + length, sizeof frames - (size_t)length);
                wire_open(new, &scene);
                wire_send(new, frames, (size_t)length);
                cr_assert(wire_reply(new, &reply) && reply.id == 1 && reply.kind == REPLY_WELCOME);
                cr_assert(wire_reply(new, &reply) && reply.id == 2 && reply.kind == REPLY_DONE);
        }
        for (size_t round = 0; round < 6; round++)
                wire_close(&others[round]);
        scene_close(&scene);
}

/* ---- Not coming back ---- */

Test(resume, needs_the_token) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        struct ticket ticket = session_new(&wire, &scene, ACCESS_READ_WRITE);
        ranges_take(&wire, HOLDS);
        for (unsigned life = 0; life < 2; life++) {
                for (size_t byte = 0; byte < MESSAGE_TOKEN_BYTES; byte++) {
                        struct ticket wrong = ticket;
                        wrong.token[byte] ^= 1;
                        session_refused(&scene, wrong, STATUS_NOT_FOUND);
                }
                struct ticket other = ticket;
                other.session++;
                session_refused(&scene, other, STATUS_NOT_FOUND);
                other.session = LEDGER_SESSIONS;
                session_refused(&scene, other, STATUS_NOT_FOUND);
                other = (struct ticket){.session = SESSION_OPERATOR};
                session_refused(&scene, other, STATUS_NOT_FOUND);
                cr_assert_eq(held_bytes(&scene), HOLDS * LENGTH);
                if (life == 0) {
                        scene_kill(&scene);
                        scene_start(&scene, "--size", "4M", NULL);
                }
        }
        wire_close(&wire);
        session_resumed(&wire, &scene, &ticket);
        expect_holds(&wire, ticket.session, HOLDS);
        wire_close(&wire);
        scene_close(&scene);
}

Test(resume, is_over_with_the_session) {
        struct scene scene;
        struct wire wire;
        struct reply reply;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        struct ticket left = session_new(&wire, &scene, ACCESS_READ_WRITE);
        wire_request(&wire, (struct request){.kind = REQUEST_GOODBYE});
        cr_assert(wire_reply(&wire, &reply) && reply.kind == REPLY_DONE);
        wire_close(&wire);
        session_refused(&scene, left, STATUS_NOT_FOUND);

        struct ticket broken = session_new(&wire, &scene, ACCESS_READ_WRITE);
        ranges_take(&wire, HOLDS);
        wire_close(&wire);
        await_held_bytes(&scene, 0);
        session_refused(&scene, broken, STATUS_NOT_FOUND);
        scene_close(&scene);
}

Test(resume, is_not_for_another_process_or_user) {
        struct scene scene;
        struct wire wire;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", "--socket-mode", "0666", NULL);
        struct ticket ticket = session_new(&wire, &scene, ACCESS_READ_WRITE);
        ranges_take(&wire, HOLDS);
        for (uid_t uid = 0; uid <= 12345; uid += 12345) {
                pid_t process = process_fork();
                if (process == 0) {
                        struct wire stolen;
                        if (uid && (setgid(uid) != 0 || setuid(uid) != 0))
                                _exit(geteuid() == 0 ? 2 : 0);
                        struct reply reply = greeted(&stolen, &scene, &ticket);
                        bool refused = reply.kind == REPLY_REFUSED &&
                                       reply.refused.status == STATUS_DENIED;
                        _exit(refused ? 0 : 1);
                }
                cr_assert_eq(process_wait(process), 0);
        }
        expect_holds(&wire, ticket.session, HOLDS);
        wire_close(&wire);
        scene_close(&scene);
}

/* ---- Staying away ---- */

Test(resume, a_stopped_process_keeps_what_it_holds) {
        struct scene scene;
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        pid_t holder = holder_start(&scene);
        kill(holder, SIGSTOP);
        for (unsigned round = 0; round < 4; round++) {
                scene_kill(&scene);
                scene_start(&scene, "--size", "4M", NULL);
                cr_assert_eq(held_bytes(&scene), HOLDS * LENGTH);
        }
        cr_assert_eq(figure_of(&scene, "orphans"), 1);
        process_kill(holder);
        await_held_bytes(&scene, 0);
        cr_assert_eq(figure_of(&scene, "orphans"), 0);
        expect_sound(&scene);
        scene_close(&scene);
}

Test(resume, what_died_meanwhile_is_returned_before_the_first_request) {
        struct scene scene;
        char line[160];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        pid_t dies = holder_start(&scene), lives = holder_start(&scene);
        scene_kill(&scene);
        process_kill(dies);
        scene_start(&scene, "--size", "4M", NULL);
        cr_assert_eq(held_bytes(&scene), HOLDS * LENGTH);
        snprintf(line, sizeof line,
                "'" NAME "' (pid %d, uid %u) died while no daemon ran: returned"
                " %d ranges, %llu bytes in",
                (int)dies, (unsigned)geteuid(), HOLDS, HOLDS * LENGTH);
        cr_assert_not_null(
                strstr(scene_errors(&scene), line), "no such line: %s", scene_errors(&scene));
        process_kill(lives);
        await_held_bytes(&scene, 0);
        scene_close(&scene);
}

/* Pids and start times of another boot mean nothing, even if such a process runs. */
Test(resume, of_an_earlier_boot_nobody_lives) {
        struct scene scene;
        char path[128];
        scene_open(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        pid_t holder = holder_start(&scene);
        scene_kill(&scene);
        snprintf(
                path, sizeof path, "/dev/shm/buddyd.%u.%s.ledger", (unsigned)geteuid(), scene.pool);
        int ledger = open(path, O_RDWR | O_CLOEXEC);
        uint64_t boot = ledger_boot_word((const uint8_t *)"an earlier boot.");
        cr_assert_eq(pwrite(ledger, &boot, sizeof boot, offsetof(struct ledger_header, boot)),
                sizeof boot);
        close(ledger);
        scene_start(&scene, "--size", "4M", NULL);
        cr_assert_eq(held_bytes(&scene), 0);
        pid_t another = holder_start(&scene);
        scene_kill(&scene);
        scene_start(&scene, "--size", "4M", NULL);
        cr_assert_eq(held_bytes(&scene), HOLDS * LENGTH, "the boot was not written down");
        process_kill(another);
        process_kill(holder);
        scene_close(&scene);
}

/* ---- Processes that cannot be seen ---- */

/* The daemon gets a pid namespace of its own, so that this process is none of its world. */
static bool daemon_apart(void) {
        int here = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        bool apart = here >= 0 && setns(here, CLONE_NEWPID) == 0 && unshare(CLONE_NEWPID) == 0;
        if (here >= 0)
                close(here);
        return apart;
}

static void daemon_together(void) {
        int here = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        cr_assert(here >= 0 && setns(here, CLONE_NEWPID) == 0);
        close(here);
}

static void start_apart(struct scene *scene, const char *config) {
        scene_start(scene, "--config", config, NULL);
        daemon_together();
}

static void config_write(const struct scene *scene, const char *grace, char *path, size_t size) {
        snprintf(path, size, "%s/config-%s", scene->folder, grace);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fprintf(file, "[buddyd]\nsocket = %s\n[pool %s]\nsize = 4M\ngrace = %s\n", scene->socket,
                scene->pool, grace);
        fclose(file);
}

Test(resume, a_grace_period_decides_where_nothing_can_be_seen) {
        struct scene scene;
        struct wire wire;
        char patient[128], hasty[128];
        scene_open(&scene);
        scene.bare = true;
        if (!daemon_apart())
                cr_skip_test("needs pid namespaces");
        config_write(&scene, "3600", patient, sizeof patient);
        config_write(&scene, "0", hasty, sizeof hasty);
        start_apart(&scene, patient);
        scene.bare = false;
        struct ticket ticket = session_new(&wire, &scene, ACCESS_READ_WRITE);
        ranges_take(&wire, HOLDS);
        scene_kill(&scene);
        wire_close(&wire);

        scene.bare = true;
        cr_assert(daemon_apart());
        start_apart(&scene, patient);
        scene.bare = false;
        cr_assert_eq(held_bytes(&scene), HOLDS * LENGTH);
        session_resumed(&wire, &scene, &ticket);
        expect_holds(&wire, ticket.session, HOLDS);
        scene_kill(&scene);
        wire_close(&wire);

        scene.bare = true;
        cr_assert(daemon_apart());
        start_apart(&scene, hasty);
        scene.bare = false;
        await_held_bytes(&scene, 0);
        session_refused(&scene, ticket, STATUS_NOT_FOUND);
        cr_assert_not_null(strstr(scene_errors(&scene), "cannot be seen and did not come back"));
        scene_close(&scene);
}
