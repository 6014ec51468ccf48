/* What hand-overs cost: the messages that giver and receiver send for them, counted where this process sends, and the system calls of a
 * receiver that returns gifts to its cache and takes them again, of which there are none. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gift_stage.h"

TestSuite(gifts_requests, .timeout = 120);

/* ---- Messages ---- */

static atomic_uint_least64_t messages;

/* Frames that begin in these bytes, which are as many whole ones as a send of the library has: length and message, little-endian. */
static void messages_count(const uint8_t *bytes, size_t length) {
        size_t at = 0;
        while (at + 4 <= length) {
                uint32_t frame = (uint32_t)bytes[at] | (uint32_t)bytes[at + 1] << 8 |
                                 (uint32_t)bytes[at + 2] << 16 | (uint32_t)bytes[at + 3] << 24;
                atomic_fetch_add(&messages, 1);
                at += 4 + (size_t)frame;
        }
}

/* The library's sends come here, as a program's own functions go before those of the C library. */
__attribute__((visibility("default"))) ssize_t send(
        int fd, const void *bytes, size_t length, int flags) {
        ssize_t sent = syscall(SYS_sendto, fd, bytes, length, flags, NULL, 0);
        if (sent > 0)
                messages_count(bytes, (size_t)sent);
        return sent;
}

static uint64_t messages_since(uint64_t *before) {
        uint64_t now = atomic_load(&messages), since = now - *before;
        *before = now;
        return since;
}

/* One at a time: the receiver is done with each before the next one comes. */
static void hand_over(struct gift_stage *stage, uint64_t length, size_t count) {
        for (size_t each = 0; each < count; each++) {
                struct buddyclient_range gift = gift_new(stage, length);
                gift_returned(stage->receiver, &gift);
        }
}

/* The fewest that there can be are the gifts themselves; so what is counted is known to be counted. */
static void expect_few_messages(uint64_t length, uint64_t count) {
        struct gift_stage stage;
        uint64_t before;
        gift_stage_open(&stage);
        messages_since(&before);
        hand_over(&stage, length, count);
        uint64_t sent = messages_since(&before);
        cr_assert_geq(sent, count, "%lu messages of %lu hand-overs were seen", sent, count);
        cr_expect_leq(2 * sent, 3 * count, "%lu messages for %lu hand-overs of %lu bytes", sent,
                count, length);
        gift_stage_close(&stage);
}

Test(gifts_requests, hand_overs_of_64k_cost_little_more_than_a_request_each) {
        expect_few_messages(64 * 1024, 10000);
}

Test(gifts_requests, hand_overs_of_a_page_cost_little_more_than_a_request_each) {
        expect_few_messages(SCENE_PAGE, 10000);
}

/* Without caches it is what it was: a grant, a gift and a return. */
Test(gifts_requests, hand_overs_without_caches_cost_three_requests) {
        struct gift_stage stage;
        uint64_t before;
        gift_stage_open_with(&stage, 0, 0);
        messages_since(&before);
        hand_over(&stage, 64 * 1024, 1000);
        cr_assert_eq(messages_since(&before), 3000);
        gift_stage_close(&stage);
}

/* ---- System calls ---- */

enum { GIFTS = 8 };

/* Slots for more than the gifts, which are empty, as what was in them is in use until the receiver ends. */
static void prepare(struct buddyclient *receiver, uint64_t length) {
        struct buddyclient_range own[16];
        for (int round = 0; round < 4; round++) {
                for (size_t each = 0; each < 16; each++)
                        own[each] = gift_taken(receiver, length);
                for (size_t each = 0; each < 16; each++)
                        gift_returned(receiver, &own[each]);
        }
        for (size_t each = 0; each < 16; each++)
                own[each] = gift_taken(receiver, length);
}

/* Between two stops: all gifts are released, and as many ranges taken again. */
static _Noreturn void trace_me(const struct scene *scene, uint64_t length) {
        struct buddyclient *giver = client_caching(scene), *receiver = client_caching(scene);
        struct buddyclient_range gifts[GIFTS], taken[GIFTS];
        int results[2 * GIFTS], faults = 0;
        if (!giver || !receiver || ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
                _exit(1);
        prepare(receiver, length);
        for (size_t each = 0; each < GIFTS; each++) {
                gifts[each] = gift_taken(giver, length);
                gift_handed(giver, &gifts[each], receiver);
        }
        raise(SIGSTOP);
        for (size_t each = 0; each < GIFTS; each++)
                results[each] = buddyclient_release(receiver, &gifts[each]);
        for (size_t each = 0; each < GIFTS; each++)
                results[GIFTS + each] = buddyclient_alloc(receiver, length, &taken[each]);
        raise(SIGSTOP);
        for (size_t each = 0; each < 2 * GIFTS; each++)
                faults += results[each] != 0;
        for (size_t each = 0; each < GIFTS; each++)
                faults += buddyclient_release(receiver, &taken[each]) != 0;
        buddyclient_destroy(giver);
        buddyclient_destroy(receiver);
        _exit(faults ? 2 : 0);
}

static void expect_stop(pid_t child, int *status) {
        cr_assert_eq(waitpid(child, status, 0), child);
        cr_assert(WIFSTOPPED(*status), "the traced process ended: %x", (unsigned)*status);
}

/* System calls until the next SIGSTOP, without those by which it is raised. */
static unsigned count_calls(pid_t child, unsigned *last) {
        unsigned count = 0;
        int status;
        for (;;) {
                cr_assert_eq(ptrace(PTRACE_SYSCALL, child, NULL, NULL), 0);
                expect_stop(child, &status);
                if (WSTOPSIG(status) == SIGSTOP)
                        return count;
                struct __ptrace_syscall_info info;
                cr_assert_gt(ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof(info), &info), 0);
                if (info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr == SYS_getpid ||
                        info.entry.nr == SYS_gettid || info.entry.nr == SYS_tgkill ||
                        info.entry.nr == SYS_rt_sigprocmask)
                        continue;
                *last = (unsigned)info.entry.nr;
                count++;
        }
}

static void expect_no_calls(uint64_t length) {
        struct scene scene;
        unsigned last = 0;
        int status;
        scene_open(&scene);
        scene_start(&scene, "--size", GIFT_POOL, NULL);
        pid_t child = process_fork();
        if (child == 0)
                trace_me(&scene, length);
        expect_stop(child, &status);
        ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
        unsigned count = count_calls(child, &last);
        ptrace(PTRACE_CONT, child, NULL, NULL);
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
        cr_expect_eq(count, 0, "%u system calls for %d gifts of %lu bytes, the last one %u", count,
                GIFTS, length, last);
        scene_close(&scene);
}

Test(gifts_requests, a_page_is_released_and_taken_again_without_a_system_call) {
        expect_no_calls(SCENE_PAGE);
}

Test(gifts_requests, a_range_of_64k_is_released_and_taken_again_without_a_system_call) {
        expect_no_calls(64 * 1024);
}

/* ---- What is counted as cached ---- */

/* What a receiver has returned to its cache is cached, to the byte, and held by nobody; and it is a gift that comes next. */
Test(gifts_requests, released_gifts_are_counted_as_cached) {
        struct gift_stage stage;
        struct buddyclient_range gifts[GIFTS];
        gift_stage_open(&stage);
        prepare(stage.receiver, SCENE_PAGE);
        for (size_t each = 0; each < GIFTS; each++)
                gifts[each] = gift_new(&stage, SCENE_PAGE);
        struct buddyclient_stats before = stats_of(stage.observer);
        for (size_t each = 1; each <= GIFTS; each++) {
                gift_returned(stage.receiver, &gifts[each - 1]);
                struct buddyclient_stats after = stats_of(stage.observer);
                cr_assert_eq(after.held_bytes, before.held_bytes - each * SCENE_PAGE);
                cr_expect_eq(after.cached_bytes, before.cached_bytes + each * SCENE_PAGE,
                        "%zu gifts are released: %lu bytes cached, before %lu", each,
                        after.cached_bytes, before.cached_bytes);
        }
        bool taken[GIFTS] = {false};
        for (uint64_t pages = stats_of(stage.observer).cached_bytes / SCENE_PAGE; pages > 0;
                pages--) {
                struct buddyclient_range range = gift_taken(stage.receiver, SCENE_PAGE);
                for (size_t each = 0; each < GIFTS; each++)
                        taken[each] |= range.offset == gifts[each].offset;
        }
        for (size_t each = 0; each < GIFTS; each++)
                cr_expect(taken[each], "gift %zu was not handed out again", each);
        buddyclient_destroy(stage.receiver);
        stage.receiver = client_caching_bytes(&stage.scene, GIFT_CACHE);
        await_held(stage.observer, 0);
        gift_stage_close(&stage);
}
