/* Clients that hang up with requests behind them in the socket, or stop to listen: what is run of it, what a session that comes back meanwhile
 * is told of it, and that it costs nobody else anything. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bystander.h"
#include "ticket.h"

TestSuite(deaf, .timeout = 120);

#define HOLDS  64
#define ROUNDS 120

static struct ticket resuming(void) {
        return (struct ticket){.name = "deaf", .features = FEATURE_RESUMES};
}

static uint64_t release_one(struct wire *wire, const struct message_range *range) {
        uint64_t place = range->offset;
        uint32_t generation = (uint32_t)range->generation;
        struct request release = {.kind = REQUEST_RELEASE};
        release.release.ranges = (struct message_ranges){&place, &generation, 1};
        return wire_request(wire, release);
}

static uint64_t refused_one(struct wire *wire) {
        return wire_request(wire,
                (struct request){.kind = REQUEST_UNPUBLISH, .unpublish = {.key = "no such key"}});
}

static void say_goodbye(struct wire *wire) {
        struct reply reply;
        wire_request(wire, (struct request){.kind = REQUEST_GOODBYE});
        cr_assert(wire_reply(wire, &reply) && reply.kind == REPLY_DONE);
        wire_close(wire);
}

static void stage(struct scene *scene, const char *workers) {
        scene_open(scene);
        scene_start(scene, "--size", "4M", "--workers", workers, NULL);
}

/* Behind what it would have to be told nothing is run: it asks for that again. */
static void hang_up_behind_a_refusal(bool only_reading) {
        struct scene scene;
        struct wire wire, again;
        struct ticket ticket = resuming();
        struct message_range ranges[HOLDS];
        stage(&scene, "1");
        ticket_open(&wire, &scene, &ticket);
        wire_take(&wire, HOLDS, ranges);
        scene_freeze(&scene);
        for (int each = 0; each < 10; each++)
                release_one(&wire, &ranges[each]);
        uint64_t refused = refused_one(&wire);
        for (int each = 10; each < 20; each++)
                release_one(&wire, &ranges[each]);
        if (only_reading)
                cr_assert_eq(shutdown(wire.fd, SHUT_RD), 0);
        else
                wire_close(&wire);
        scene_thaw(&scene);
        struct message_done done = ticket_resume(&again, &scene, &ticket);
        size_t holds = wire_holds(&again, ticket.session);
        cr_assert_leq(done.request, refused, "%lu is done, behind the refusal %lu",
                (unsigned long)done.request, (unsigned long)refused);
        cr_assert_geq(holds, HOLDS - 10, "%zu are held", holds);
        for (int turn = 0; turn < 5; turn++)
                wire_expect_alive(&again);
        cr_assert_eq(wire_holds(&again, ticket.session), holds, "it is still being run");
        if (only_reading)
                wire_close(&wire);
        say_goodbye(&again);
        scene_close(&scene);
}

Test(deaf, behind_a_refusal_nothing_is_run) {
        hang_up_behind_a_refusal(false);
        hang_up_behind_a_refusal(true);
}

/* Unless it is a goodbye: then it does not come back. */
Test(deaf, a_goodbye_behind_a_refusal_counts) {
        struct scene scene;
        struct wire wire;
        struct ticket ticket = resuming();
        struct message_range ranges[HOLDS];
        stage(&scene, "2");
        ticket_open(&wire, &scene, &ticket);
        wire_take(&wire, HOLDS, ranges);
        scene_freeze(&scene);
        for (int each = 0; each < 10; each++) {
                refused_one(&wire);
                release_one(&wire, &ranges[each]);
        }
        wire_request(&wire, (struct request){.kind = REQUEST_GOODBYE});
        wire_close(&wire);
        scene_thaw(&scene);
        scene_await_figure(&scene, "held_bytes", 0);
        scene_await_figure(&scene, "clients", 0);
        cr_assert_eq(scene_figure(&scene, "orphans"), 0);
        ticket_refused(&scene, &ticket, STATUS_NOT_FOUND);
        scene_close(&scene);
}

/* Comes back over another worker's connection while the old one is being run: what the welcome says is what is held, for good. */
Test(deaf, who_comes_back_meanwhile_is_told_the_truth) {
        struct scene scene;
        struct wire wire, again;
        struct message_range ranges[HOLDS];
        stage(&scene, "4");
        for (unsigned round = 0; round < ROUNDS; round++) {
                struct ticket ticket = resuming();
                uint64_t ids[HOLDS];
                size_t done_count = 0;
                ticket_open(&wire, &scene, &ticket);
                wire_take(&wire, HOLDS, ranges);
                for (int each = 0; each < HOLDS; each++)
                        ids[each] = release_one(&wire, &ranges[each]);
                nanosleep(&(struct timespec){.tv_nsec = round % 24 * 5000L}, NULL);
                if (round % 3 == 0)
                        cr_assert_eq(shutdown(wire.fd, SHUT_RD), 0);
                else
                        wire_close(&wire);
                struct message_done done = ticket_resume(&again, &scene, &ticket);
                while (done_count < HOLDS && ids[done_count] <= done.request)
                        done_count++;
                size_t holds = wire_holds(&again, ticket.session);
                cr_assert_eq(holds, HOLDS - done_count, "round %u: %zu held, %zu are done", round,
                        holds, done_count);
                if (round % 3 == 0)
                        wire_close(&wire);
                say_goodbye(&again);
        }
        scene_await_figure(&scene, "held_bytes", 0);
        scene_close(&scene);
}

/* One that never reads and never stops to send is not served for ever, and nobody else waits for it. */
Test(deaf, who_floods_without_listening_is_dropped) {
        struct bystander by;
        struct wire wire;
        struct ticket ticket = {.name = "flood"};
        uint8_t bytes[64 * 1024];
        bystander_open(&by);
        ticket_open(&wire, &by.scene, &ticket);
        cr_assert_eq(shutdown(wire.fd, SHUT_RD), 0);
        struct request ping = {.id = 1000, .kind = REQUEST_PING};
        size_t length = 0;
        for (ptrdiff_t frame;
                (frame = request_encode(&ping, bytes + length, sizeof bytes - length)) > 0;)
                length += (size_t)frame;
        size_t sent = 0;
        for (uint64_t end = now_ms() + PATIENCE_MS;;) {
                ssize_t n = send(wire.fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0 && errno != EAGAIN)
                        break;
                sent += n > 0 ? (size_t)n : 0;
                cr_assert_lt(now_ms(), end, "%zu bytes were taken, and no end to it", sent);
                if (sent % 7 == 0)
                        bystander_works(&by);
        }
        wire_close(&wire);
        bystander_close(&by);
}
