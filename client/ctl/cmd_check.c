/* check: the daemon walks its pool, or, where none serves it, this does; prints what was looked at. */
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ask.h"
#include "complain.h"
#include "json.h"
#include "offline.h"
#include "printable.h"
#include "quantity.h"
#include "terminal.h"
#include "thresholds.h"

/* A pool of terabytes takes its time. */
#define CHECK_TIMEOUT_MS 120000

struct counted {
        const char *name;
        uint64_t count;
};
#define COUNTED 8

static void checked_counts(const struct reply_check *check, struct counted counts[COUNTED]) {
        const struct counted all[COUNTED] = {
                {"pages", check->pages},
                {"chunks", check->chunks},
                {"records", check->records},
                {"live_blocks", check->live_blocks},
                {"holds", check->holds},
                {"keys", check->keys},
                {"sessions", check->sessions},
                {"free_blocks", check->free_blocks},
        };
        for (size_t i = 0; i < COUNTED; i++)
                counts[i] = all[i];
}

static void print_json(const struct reply_check *check, const struct offline_result *offline) {
        struct counted counts[COUNTED];
        checked_counts(check, counts);
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_bool(&json, "ok", check->fault[0] == '\0');
        for (size_t i = 0; i < COUNTED; i++)
                json_integer(&json, counts[i].name, counts[i].count);
        json_integer(&json, "microseconds", check->microseconds);
        json_text(&json, "fault", check->fault);
        if (offline) {
                json_text(&json, "pool", offline->pool);
                json_integer(&json, "page_bytes", offline->page_bytes);
                json_integer(&json, "size_bytes", offline->size_bytes);
                json_integer(&json, "capacity_bytes", offline->capacity_bytes);
                json_integer(&json, "restarts", offline->restarts);
        }
        json_end_object(&json);
        json_end_document(&json);
}

static void print_offline(const struct offline_result *offline) {
        char text[QUANTITY_BYTES];
        fputs("pool          ", stdout);
        printable_write(stdout, offline->pool);
        printf("\n%-12s%15s\n", "page", quantity_bytes(text, offline->page_bytes));
        printf("%-12s%15s\n", "size", quantity_bytes(text, offline->size_bytes));
        printf("%-12s%15s\n", "capacity", quantity_bytes(text, offline->capacity_bytes));
        printf("%-12s%15s\n", "restarts", quantity_count(text, offline->restarts));
}

static void print_text(const struct reply_check *check, const struct offline_result *offline) {
        char text[QUANTITY_BYTES];
        struct counted counts[COUNTED];
        checked_counts(check, counts);
        if (offline)
                print_offline(offline);
        for (size_t i = 0; i < COUNTED; i++) {
                for (const char *at = counts[i].name; *at != '\0'; at++)
                        putchar(*at == '_' ? ' ' : *at);
                printf("%*s%15s\n", 12 - (int)strlen(counts[i].name), "",
                        quantity_count(text, counts[i].count));
        }
        printf("%-12s%15.3f ms\n", "time", (double)check->microseconds / 1e3);
        bool sound = check->fault[0] == '\0';
        terminal_style(stdout, STYLE_STRONG);
        fputs(sound ? "ok" : "fault: ", stdout);
        printable_write(stdout, check->fault);
        terminal_style(stdout, STYLE_PLAIN);
        putchar('\n');
}

static void print_checked(const struct invocation *invocation, const struct reply_check *check,
        const struct offline_result *offline) {
        (invocation_has(invocation, OPTION_JSON) ? print_json : print_text)(check, offline);
}

/* ---- Without a daemon ---- */

static uint64_t clock_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static enum exit_status owner_find(const struct invocation *invocation, uint32_t *uid) {
        const char *text = invocation->values[OPTION_UID];
        uint32_t owner = geteuid();
        if (text && strcmp(text, "0") == 0)
                owner = 0;
        else if (text && quantity_parse_id(text, &owner) != 0)
                return complain(EXIT_USAGE,
                        "--uid: \"%s\" is not a user's number; give one as \"id -u\" prints it",
                        text);
        *uid = owner;
        return EXIT_DONE;
}

static enum exit_status check_offline(const struct invocation *invocation) {
        uint32_t uid = 0;
        struct offline_result result;
        enum exit_status status = owner_find(invocation, &uid);
        if (status != EXIT_DONE)
                return status;
        uint64_t began = clock_us();
        status = offline_check(uid, ask_pool(invocation), &result);
        if (status != EXIT_DONE && status != EXIT_FAULT)
                return status;
        const struct pool_check_report *report = &result.report;
        struct reply_check check = {.pages = report->pages,
                .chunks = report->chunks,
                .records = report->records,
                .live_blocks = report->live_blocks,
                .holds = report->holds,
                .keys = report->keys,
                .sessions = report->sessions,
                .free_blocks = report->free_blocks,
                .microseconds = clock_us() - began,
                .fault = report->fault};
        print_checked(invocation, &check, &result);
        return status;
}

enum exit_status cmd_check(const struct invocation *invocation) {
        if (thresholds_asked(invocation) && invocation_has(invocation, OPTION_OFFLINE))
                return complain(
                        EXIT_USAGE, "check: limits are for a live pool; leave --offline out");
        if (thresholds_asked(invocation))
                return thresholds_check(invocation);
        if (invocation_has(invocation, OPTION_OFFLINE))
                return check_offline(invocation);
        if (invocation_has(invocation, OPTION_UID))
                return complain(EXIT_USAGE,
                        "check: --uid goes with --offline only; add it, or leave --uid out");
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        observer_set_timeout(&observer, CHECK_TIMEOUT_MS);

        struct request request = {.kind = REQUEST_CHECK};
        struct reply reply;
        status = ask(&observer, &request, REPLY_CHECK, &reply);
        if (status == EXIT_DONE) {
                print_checked(invocation, &reply.check, NULL);
                if (reply.check.fault[0] != '\0')
                        status = EXIT_FAULT;
        }
        observer_close(&observer);
        return status;
}
