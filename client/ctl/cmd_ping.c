/* ping: one round trip. */
#include "ask.h"
#include "client/deadline.h"
#include "json.h"
#include "quantity.h"

enum exit_status cmd_ping(const struct invocation *invocation) {
        struct observer observer;
        enum exit_status status = ask_open(invocation, &observer, NULL);
        if (status != EXIT_DONE)
                return status;

        struct request request = {.kind = REQUEST_PING};
        struct reply reply;
        int64_t begin_ns = deadline_now();
        status = ask(&observer, &request, REPLY_DONE, &reply);
        double round_trip_us = (double)(deadline_now() - begin_ns) / 1e3;
        if (status == EXIT_DONE && invocation_has(invocation, OPTION_JSON)) {
                struct json json = {.out = stdout};
                json_begin_object(&json, NULL);
                json_number(&json, "round_trip_us", round_trip_us);
                json_end_object(&json);
                json_end_document(&json);
        } else if (status == EXIT_DONE) {
                printf("round trip %.1f %s\n", round_trip_us, quantity_microsecond());
        }
        observer_close(&observer);
        return status;
}
