/* grow: the pool's size, under its running clients. */
#include "ask.h"
#include "complain.h"
#include "json.h"
#include "quantity.h"

/* Reserving the new part of an eager pool of terabytes takes its time. */
#define GROW_TIMEOUT_MS 600000

static void print_grown(uint64_t from_bytes, uint64_t to_bytes, bool as_json) {
        char from[QUANTITY_BYTES], to[QUANTITY_BYTES];
        if (!as_json && from_bytes == to_bytes) {
                printf("the pool has %s already\n", quantity_bytes(to, to_bytes));
                return;
        }
        if (!as_json) {
                printf("the pool has grown from %s to %s\n", quantity_bytes(from, from_bytes),
                        quantity_bytes(to, to_bytes));
                return;
        }
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_integer(&json, "size_bytes", to_bytes);
        json_integer(&json, "grown_bytes", to_bytes - from_bytes);
        json_end_object(&json);
        json_end_document(&json);
}

enum exit_status cmd_grow(const struct invocation *invocation) {
        uint64_t bytes;
        if (quantity_parse_bytes(invocation->operand, &bytes) != 0 || bytes == 0)
                return complain(EXIT_USAGE,
                        "grow: \"%s\" is not a size; give bytes, such as 4096, 64K or 2G",
                        invocation->operand);
        struct observer observer;
        struct reply_welcome welcome;
        enum exit_status status = ask_open(invocation, &observer, &welcome);
        if (status != EXIT_DONE)
                return status;
        observer_set_timeout(&observer, GROW_TIMEOUT_MS);
        struct request request = {.kind = REQUEST_GROW, .grow.size_bytes = bytes};
        struct reply reply;
        status = ask(&observer, &request, REPLY_DONE, &reply);
        if (status == EXIT_DONE)
                print_grown(welcome.size_bytes, bytes, invocation_has(invocation, OPTION_JSON));
        observer_close(&observer);
        return status;
}
