/* The command line of buddyctl: options may stand before or after the command, as "--name VALUE" or
 * "--name=VALUE"; "--" ends them. Reads only; no state of its own. */
#pragma once

#include "command.h"

#define INVOCATION_LIMITS_MAX 16

/* What was asked for. Strings belong to argv. */
struct invocation {
        const struct command *command;    /* NULL: none was named (with --help or --version) */
        const char *values[OPTION_COUNT]; /* NULL: not given; "" for one without argument */
        const char *limits[INVOCATION_LIMITS_MAX]; /* of --max-unusable, which may be repeated */
        size_t limit_count;
        const char *operand; /* set exactly if the command needs one */
};

static inline bool invocation_has(const struct invocation *invocation, enum option_id option) {
        return invocation->values[option] != NULL;
}

/* EXIT_DONE: *out is complete. EXIT_USAGE: refused, and said why in one line. */
enum exit_status arguments_parse(int argc, char *const argv[], struct invocation *out);
