/* drain: nothing is granted in the pool any more; says what is still held, or waits until nothing is. */
#include <inttypes.h>
#include <time.h>

#include "ask.h"
#include "client/deadline.h"
#include "complain.h"
#include "json.h"
#include "quantity.h"
#include "roster.h"

#define LOOK_EVERY_NS    20000000 /* while waiting */
#define WAIT_SECONDS_MAX 31536000.0

/* What is held yet. */
struct remainder {
        uint64_t held_bytes; /* in caches, too */
        size_t clients;      /* that hold some of it; keys and the operator may hold the rest */
};

static enum exit_status remainder_ask(struct observer *observer, uint64_t *held_bytes) {
        struct request request = {.kind = REQUEST_STATS};
        struct reply reply;
        enum exit_status status = ask(observer, &request, REPLY_STATS, &reply);
        if (status == EXIT_DONE)
                *held_bytes = reply.stats.held_bytes + reply.stats.cached_bytes;
        return status;
}

static enum exit_status remainder_count(struct observer *observer, struct remainder *out) {
        struct roster roster;
        enum exit_status status = roster_load(observer, &roster);
        if (status != EXIT_DONE)
                return status;
        out->clients = 0;
        for (size_t i = 0; i < roster.count; i++)
                out->clients += roster.entries[i].held_ranges > 0;
        roster_deinit(&roster);
        return EXIT_DONE;
}

/* Until nothing is held, or the time is over. */
static enum exit_status remainder_await(
        struct observer *observer, int64_t deadline, uint64_t *held_bytes) {
        const struct timespec pause = {.tv_nsec = LOOK_EVERY_NS};
        for (;;) {
                enum exit_status status = remainder_ask(observer, held_bytes);
                if (status != EXIT_DONE || *held_bytes == 0 || deadline_now() >= deadline)
                        return status;
                nanosleep(&pause, NULL);
        }
}

static void print_json(bool draining, const struct remainder *rest) {
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_bool(&json, "draining", draining);
        json_bool(&json, "empty", rest->held_bytes == 0);
        json_integer(&json, "held_bytes", rest->held_bytes);
        json_integer(&json, "holders", rest->clients);
        json_end_object(&json);
        json_end_document(&json);
}

/* "1 MiB held by 3 clients" */
static const char *remainder_text(const struct remainder *rest, char text[static 96]) {
        char held[QUANTITY_BYTES];
        quantity_bytes(held, rest->held_bytes);
        if (rest->clients == 0)
                snprintf(text, 96, "%s held under keys or by hand", held);
        else
                snprintf(text, 96, "%s held by %zu client%s", held, rest->clients,
                        rest->clients == 1 ? "" : "s");
        return text;
}

static void print_text(bool draining, const struct remainder *rest) {
        char text[96];
        if (!draining)
                puts("the pool serves again");
        else if (rest->held_bytes == 0)
                puts("draining: the pool is empty");
        else
                printf("draining: %s\n", remainder_text(rest, text));
}

/* EXIT_REFUSED where it was to become empty and has not. */
static enum exit_status judge(const struct remainder *rest, const char *wait) {
        char text[96];
        if (!wait || rest->held_bytes == 0)
                return EXIT_DONE;
        return complain(EXIT_REFUSED,
                "not empty within %s s: %s; \"buddyctl ranges\" shows what and by whom", wait,
                remainder_text(rest, text));
}

/* INT64_MAX: as long as it takes. */
static enum exit_status deadline_of(const char *wait, int64_t *deadline) {
        double seconds = 0;
        *deadline = INT64_MAX;
        if (!wait || *wait == '\0')
                return EXIT_DONE;
        if (quantity_parse_seconds(wait, 0, WAIT_SECONDS_MAX, &seconds) != 0)
                return complain(EXIT_USAGE, "--wait=%s: give seconds from 0 to %.0f", wait,
                        WAIT_SECONDS_MAX);
        *deadline = deadline_now() + (int64_t)(seconds * 1e9);
        return EXIT_DONE;
}

static enum exit_status drain(
        const struct invocation *invocation, struct observer *observer, int64_t deadline) {
        const char *wait = invocation->values[OPTION_WAIT];
        bool off = invocation_has(invocation, OPTION_OFF);
        struct request request = {.kind = REQUEST_DRAIN, .drain.off = off};
        struct remainder rest = {0};
        struct reply reply;
        enum exit_status status = ask(observer, &request, REPLY_DONE, &reply);
        if (status == EXIT_DONE)
                status = wait ? remainder_await(observer, deadline, &rest.held_bytes)
                              : remainder_ask(observer, &rest.held_bytes);
        if (status == EXIT_DONE && rest.held_bytes > 0)
                status = remainder_count(observer, &rest);
        if (status != EXIT_DONE)
                return status;
        if (invocation_has(invocation, OPTION_JSON))
                print_json(!off, &rest);
        else if (!wait || rest.held_bytes == 0)
                print_text(!off, &rest);
        return judge(&rest, wait);
}

enum exit_status cmd_drain(const struct invocation *invocation) {
        const char *wait = invocation->values[OPTION_WAIT];
        int64_t deadline;
        if (wait && invocation_has(invocation, OPTION_OFF))
                return complain(
                        EXIT_USAGE, "drain: --off and --wait exclude each other; leave one out");
        enum exit_status status = deadline_of(wait, &deadline);
        struct observer observer;
        if (status == EXIT_DONE)
                status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        status = drain(invocation, &observer, deadline);
        observer_close(&observer);
        return status;
}
