/* See gift_puppet.h. */
#include "gift_puppet.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gift_stage.h"

struct order {
        int kind; /* a letter */
        struct buddyclient_range range;
};

struct kept {
        struct buddyclient *client;
        struct buddyclient_range ranges[PUPPET_RANGES];
        size_t count;
};

/* ---- Inside ---- */

static int keep_told(struct kept *kept, const struct buddyclient_range *range) {
        if (kept->count == PUPPET_RANGES)
                return -E2BIG;
        kept->ranges[kept->count++] = *range;
        return mark_holds(kept->client, range, mark_of(range)) ? 0 : -EUCLEAN;
}

static int release_kept(struct kept *kept) {
        int worst = 0;
        for (size_t each = 0; each < kept->count; each++) {
                int result = buddyclient_release(kept->client, &kept->ranges[each]);
                int again = buddyclient_release(kept->client, &kept->ranges[each]);
                if (worst == 0)
                        worst = result != 0 ? result : again != -ESTALE ? -EUCLEAN : 0;
        }
        kept->count = 0;
        return worst;
}

static int look_at_kept(const struct kept *kept) {
        for (size_t each = 0; each < kept->count; each++)
                if (!mark_holds(kept->client, &kept->ranges[each], mark_of(&kept->ranges[each])))
                        return -EUCLEAN;
        return 0;
}

static int take_one(struct kept *kept, uint64_t length) {
        struct buddyclient_range range;
        if (kept->count == PUPPET_RANGES)
                return -E2BIG;
        int result = buddyclient_alloc(kept->client, length, &range);
        if (result != 0)
                return result;
        mark_write(kept->client, &range, mark_of(&range));
        kept->ranges[kept->count++] = range;
        return 0;
}

static int obey(struct kept *kept, const struct order *order) {
        switch (order->kind) {
        case 'G':
                return keep_told(kept, &order->range);
        case 'R':
                return release_kept(kept);
        case 'L':
                return look_at_kept(kept);
        case 'T':
                return take_one(kept, order->range.length);
        default:
                return -EINVAL;
        }
}

static _Noreturn void puppet_run(
        const struct gift_puppet *puppet, const struct scene *scene, uid_t uid) {
        struct kept kept = {0};
        struct order order;
        if (uid != 0 && (setgid(uid) != 0 || setuid(uid) != 0))
                _exit(99);
        kept.client = client_caching(scene);
        uint32_t id = kept.client ? buddyclient_id(kept.client) : 0;
        if (write(puppet->answers[1], &id, sizeof id) != sizeof id || id == 0)
                _exit(98);
        while (read(puppet->orders[0], &order, sizeof order) == sizeof order && order.kind != 'E') {
                int result = obey(&kept, &order);
                if (write(puppet->answers[1], &result, sizeof result) != sizeof result)
                        _exit(97);
        }
        int result = release_kept(&kept);
        buddyclient_destroy(kept.client);
        _exit(result == 0 ? 0 : 1);
}

/* ---- Outside ---- */

static void answer_read(struct gift_puppet *puppet, void *answer, size_t size) {
        ssize_t got = read(puppet->answers[0], answer, size);
        cr_assert_eq(got, (ssize_t)size, "the puppet does not answer");
}

static int order_run(struct gift_puppet *puppet, int kind, const struct buddyclient_range *range) {
        struct order order = {.kind = kind};
        int result;
        if (range)
                order.range = *range;
        cr_assert_eq(write(puppet->orders[1], &order, sizeof order), (ssize_t)sizeof order);
        answer_read(puppet, &result, sizeof result);
        return result;
}

void puppet_start(struct gift_puppet *puppet, const struct scene *scene, uid_t uid) {
        cr_assert(pipe(puppet->orders) == 0 && pipe(puppet->answers) == 0);
        puppet->process = process_fork();
        if (puppet->process == 0) {
                close(puppet->orders[1]);
                close(puppet->answers[0]);
                puppet_run(puppet, scene, uid);
        }
        close(puppet->orders[0]);
        close(puppet->answers[1]);
        answer_read(puppet, &puppet->id, sizeof puppet->id);
        cr_assert_neq(puppet->id, 0, "the puppet is not served");
}

void puppet_told(struct gift_puppet *puppet, const struct buddyclient_range *range) {
        int result = order_run(puppet, 'G', range);
        cr_assert_eq(result, 0, "a gift: %d", result);
}

int puppet_release(struct gift_puppet *puppet) {
        return order_run(puppet, 'R', NULL);
}

int puppet_look(struct gift_puppet *puppet) {
        return order_run(puppet, 'L', NULL);
}

int puppet_take(struct gift_puppet *puppet, uint64_t length) {
        struct buddyclient_range range = {.length = length};
        return order_run(puppet, 'T', &range);
}

void puppet_stop(struct gift_puppet *puppet) {
        siginfo_t info;
        cr_assert_eq(kill(puppet->process, SIGSTOP), 0);
        cr_assert_eq(waitid(P_PID, (id_t)puppet->process, &info, WSTOPPED), 0);
}

void puppet_go_on(struct gift_puppet *puppet) {
        cr_assert_eq(kill(puppet->process, SIGCONT), 0);
}

void puppet_end(struct gift_puppet *puppet) {
        struct order order = {.kind = 'E'};
        cr_assert_eq(write(puppet->orders[1], &order, sizeof order), (ssize_t)sizeof order);
        cr_assert_eq(process_wait(puppet->process), 0);
        close(puppet->orders[1]);
        close(puppet->answers[0]);
}
