/* check: the daemon walks its pool; this prints what it looked at. */
#include <string.h>

#include "ask.h"
#include "json.h"
#include "printable.h"
#include "quantity.h"
#include "terminal.h"

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

static void print_json(const struct counted counts[COUNTED], const struct reply_check *check) {
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_bool(&json, "ok", check->fault[0] == '\0');
        for (size_t i = 0; i < COUNTED; i++)
                json_integer(&json, counts[i].name, counts[i].count);
        json_integer(&json, "microseconds", check->microseconds);
        json_text(&json, "fault", check->fault);
        json_end_object(&json);
        json_end_document(&json);
}

static void print_text(const struct counted counts[COUNTED], const struct reply_check *check) {
        char text[QUANTITY_BYTES];
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

enum exit_status cmd_check(const struct invocation *invocation) {
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        observer_set_timeout(&observer, CHECK_TIMEOUT_MS);

        struct request request = {.kind = REQUEST_CHECK};
        struct reply reply;
        status = ask(&observer, &request, REPLY_CHECK, &reply);
        if (status == EXIT_DONE) {
                struct counted counts[COUNTED];
                checked_counts(&reply.check, counts);
                (invocation_has(invocation, OPTION_JSON) ? print_json : print_text)(
                        counts, &reply.check);
                if (reply.check.fault[0] != '\0')
                        status = EXIT_FAULT;
        }
        observer_close(&observer);
        return status;
}
