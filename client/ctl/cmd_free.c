/* free: returns what alloc held. */
#include <inttypes.h>

#include "ask.h"
#include "complain.h"
#include "json.h"
#include "quantity.h"

static void print_freed(uint64_t offset, bool as_json) {
        if (!as_json) {
                printf("returned offset %" PRIu64 "\n", offset);
                return;
        }
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_integer(&json, "offset", offset);
        json_end_object(&json);
        json_end_document(&json);
}

enum exit_status cmd_free(const struct invocation *invocation) {
        uint64_t offset;
        if (quantity_parse_bytes(invocation->operand, &offset) != 0)
                return complain(EXIT_USAGE,
                        "free: \"%s\" is not an offset; give bytes as \"alloc\" printed them",
                        invocation->operand);
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;
        struct request request = {.kind = REQUEST_UNHOLD, .unhold.offset = offset};
        struct reply reply;
        status = ask(&observer, &request, REPLY_DONE, &reply);
        if (status == EXIT_DONE)
                print_freed(offset, invocation_has(invocation, OPTION_JSON));
        observer_close(&observer);
        return status;
}
