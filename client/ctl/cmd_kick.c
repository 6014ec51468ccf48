/* kick: ends a client's session. */
#include <inttypes.h>

#include "ask.h"
#include "complain.h"
#include "json.h"
#include "quantity.h"

/* What it held goes back in slices between others' requests: a client of millions of ranges takes its time. */
#define KICK_TIMEOUT_MS 120000

static void print_kicked(uint32_t id, const struct reply_returned *returned, bool as_json) {
        char ranges[QUANTITY_BYTES], bytes[QUANTITY_BYTES];
        if (!as_json) {
                printf("client %" PRIu32 " ended: %s ranges returned, %s free again\n", id,
                        quantity_count(ranges, returned->count),
                        quantity_bytes(bytes, returned->bytes));
                return;
        }
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_integer(&json, "id", id);
        json_integer(&json, "ranges", returned->count);
        json_integer(&json, "freed_bytes", returned->bytes);
        json_integer(&json, "microseconds", returned->microseconds);
        json_end_object(&json);
        json_end_document(&json);
}

enum exit_status cmd_kick(const struct invocation *invocation) {
        uint32_t id;
        if (quantity_parse_id(invocation->operand, &id) != 0)
                return complain(EXIT_USAGE,
                        "kick: \"%s\" is not a client's id; give one as \"clients\" prints it",
                        invocation->operand);
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        observer_set_timeout(&observer, KICK_TIMEOUT_MS);
        struct request request = {.kind = REQUEST_KICK, .kick.session = id};
        struct reply reply;
        status = ask(&observer, &request, REPLY_RETURNED, &reply);
        if (status == EXIT_DONE)
                print_kicked(id, &reply.returned, invocation_has(invocation, OPTION_JSON));
        observer_close(&observer);
        return status;
}
