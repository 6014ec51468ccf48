/* trim: free memory goes back to the system. */
#include "ask.h"
#include "json.h"
#include "quantity.h"

#define TRIM_TIMEOUT_MS 600000

static enum exit_status resident_ask(struct observer *observer, uint64_t *bytes) {
        struct request request = {.kind = REQUEST_STATS};
        struct reply reply;
        enum exit_status status = ask(observer, &request, REPLY_STATS, &reply);
        if (status == EXIT_DONE)
                *bytes = reply.stats.resident_bytes;
        return status;
}

static void print_trimmed(
        const struct reply_returned *returned, uint64_t resident_bytes, bool as_json) {
        char bytes[QUANTITY_BYTES], resident[QUANTITY_BYTES];
        if (!as_json) {
                printf("%s given back to the system, %s resident\n",
                        quantity_bytes(bytes, returned->bytes),
                        quantity_bytes(resident, resident_bytes));
                return;
        }
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_integer(&json, "trimmed_bytes", returned->bytes);
        json_integer(&json, "resident_bytes", resident_bytes);
        json_integer(&json, "microseconds", returned->microseconds);
        json_end_object(&json);
        json_end_document(&json);
}

enum exit_status cmd_trim(const struct invocation *invocation) {
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        observer_set_timeout(&observer, TRIM_TIMEOUT_MS);
        struct request request = {.kind = REQUEST_TRIM};
        struct reply reply;
        status = ask(&observer, &request, REPLY_RETURNED, &reply);
        struct reply_returned returned = reply.returned;
        uint64_t resident_bytes = 0;
        if (status == EXIT_DONE)
                status = resident_ask(&observer, &resident_bytes);
        if (status == EXIT_DONE)
                print_trimmed(&returned, resident_bytes, invocation_has(invocation, OPTION_JSON));
        observer_close(&observer);
        return status;
}
