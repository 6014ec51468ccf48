/* alloc: a hold of the operator's own, which lasts until it is returned by hand. One whose offset nobody was told
 * could not be: it is returned at once. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ask.h"
#include "complain.h"
#include "json.h"
#include "output.h"
#include "quantity.h"

/* What a lazy pool grants is reserved first, which takes its time. Who gave up on it would leave a hold that nobody knows of. */
#define HOLD_TIMEOUT_MS 600000

static void print_range(const struct message_range *range, bool as_json) {
        if (!as_json) {
                printf("offset %" PRIu64 "  length %" PRIu64 "  generation %" PRIu64 "\n",
                        range->offset, range->length, range->generation);
                return;
        }
        struct json json = {.out = stdout};
        json_begin_object(&json, NULL);
        json_integer(&json, "offset", range->offset);
        json_integer(&json, "length", range->length);
        json_integer(&json, "generation", range->generation);
        json_end_object(&json);
        json_end_document(&json);
}

static enum exit_status hold(struct observer *observer, uint64_t page_bytes, uint64_t length,
        struct message_range *out) {
        struct request request = {.kind = REQUEST_HOLD, .hold.length = length};
        struct reply reply;
        enum exit_status status = ask(observer, &request, REPLY_RANGES, &reply);
        if (status != EXIT_DONE)
                return status;
        if (reply.ranges.count != 1)
                return ask_complain_unanswered(-EPROTO);
        uint64_t order = reply.ranges.places[0] & 63;
        *out = (struct message_range){
                .offset = reply.ranges.places[0] - order,
                .length = page_bytes << order,
                .generation = reply.ranges.generations[0],
        };
        return EXIT_DONE;
}

static enum exit_status unhold_untold(struct observer *observer, uint64_t offset, int error) {
        struct request request = {.kind = REQUEST_UNHOLD, .unhold.offset = offset};
        struct reply reply;
        if (observer_call(observer, &request, &reply) != 0 || reply.kind != REPLY_DONE)
                return complain(EXIT_REFUSED,
                        "cannot write the output: %s, and the range stays held; return it with "
                        "\"buddyctl free %" PRIu64 "\"",
                        strerror(-error), offset);
        return complain(EXIT_REFUSED,
                "cannot write the output: %s, and the range is returned; give the output somewhere "
                "to go and try again",
                strerror(-error));
}

static enum exit_status tell(
        struct observer *observer, const struct message_range *range, bool as_json) {
        print_range(range, as_json);
        int error = output_write();
        return error != 0 ? unhold_untold(observer, range->offset, error) : EXIT_DONE;
}

enum exit_status cmd_alloc(const struct invocation *invocation) {
        uint64_t length;
        int error = quantity_parse_bytes(invocation->operand, &length);
        if (error == -ERANGE)
                return complain(EXIT_USAGE, "alloc: \"%s\" is more than 64 bits hold; ask for less",
                        invocation->operand);
        if (error != 0 || length == 0)
                return complain(EXIT_USAGE,
                        "alloc: \"%s\" is not a length; give bytes, such as 4096, 64K or 2M",
                        invocation->operand);
        struct observer observer;
        struct reply_welcome welcome;
        enum exit_status status = ask_open(invocation, &observer, &welcome);
        if (status != EXIT_DONE)
                return status;
        struct message_range range = {0};
        observer_set_timeout(&observer, HOLD_TIMEOUT_MS);
        status = hold(&observer, welcome.page_bytes, length, &range);
        if (status == EXIT_DONE)
                status = tell(&observer, &range, invocation_has(invocation, OPTION_JSON));
        observer_close(&observer);
        return status;
}
