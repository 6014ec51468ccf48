/* The commands of buddyctl: what each is called, which options it takes, and who runs it. Constant
 * data; a new command is one row in command.c, one prototype here and one file cmd_NAME.c. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

enum exit_status {
        EXIT_DONE = 0,
        EXIT_REFUSED = 1,
        EXIT_USAGE = 2,
        EXIT_UNREACHABLE = 3,
        EXIT_FAULT = 4, /* a check found one */
};

enum option_id {
        OPTION_SOCKET,
        OPTION_POOL,
        OPTION_HELP,
        OPTION_VERSION,
        OPTION_JSON,
        OPTION_WATCH,
        OPTION_SORT,
        OPTION_CLIENT,
        OPTION_SECONDS,
        OPTION_UNPINNED,
        OPTION_OFFLINE,
        OPTION_UID,
        OPTION_BYTES,
        OPTION_COLUMNS,
        OPTION_BY,
        OPTION_WIDTH,
        OPTION_SVG,
        OPTION_TEXTFILE,
        OPTION_LISTEN,
        OPTION_FORMAT,
        OPTION_OFF,
        OPTION_WAIT,
        OPTION_MIN_LARGEST,
        OPTION_MAX_UNUSABLE,
        OPTION_SET,
        OPTION_COUNT,
};
#define OPTION_BIT(id) (1u << (id))

struct option {
        const char *name;        /* without the dashes */
        const char *placeholder; /* of its argument; NULL: takes none; "[=SECS]": may go without */
        const char *help;
        char letter; /* its short form, behind one dash; 0: none */
};

struct invocation;

#define OPERAND_POOL "[POOL]"

struct command {
        const char *name;
        const char *summary; /* one line */
        const char *
                operand; /* placeholder of the one operand it needs; NULL: takes none; "[POOL]": it may
                                name the pool so, instead of by --pool */
        unsigned options;    /* OPTION_BITs beside those that every command takes */
        const char *details; /* for its help; a few lines */
        enum exit_status (*run)(const struct invocation *invocation);
};

extern const struct option options[OPTION_COUNT];

/* NULL: no such command. */
const struct command *command_find(const char *name);

/* Whether a command takes this option. */
bool command_takes(const struct command *command, enum option_id option);

/* Help of one command, or of the tool (NULL). */
void command_help(FILE *out, const struct command *command);

enum exit_status cmd_ping(const struct invocation *invocation);
enum exit_status cmd_stats(const struct invocation *invocation);
enum exit_status cmd_orders(const struct invocation *invocation);
enum exit_status cmd_map(const struct invocation *invocation);
enum exit_status cmd_top(const struct invocation *invocation);
enum exit_status cmd_clients(const struct invocation *invocation);
enum exit_status cmd_ranges(const struct invocation *invocation);
enum exit_status cmd_alloc(const struct invocation *invocation);
enum exit_status cmd_free(const struct invocation *invocation);
enum exit_status cmd_check(const struct invocation *invocation);
enum exit_status cmd_kick(const struct invocation *invocation);
enum exit_status cmd_drain(const struct invocation *invocation);
enum exit_status cmd_trim(const struct invocation *invocation);
enum exit_status cmd_grow(const struct invocation *invocation);
enum exit_status cmd_metrics(const struct invocation *invocation);
enum exit_status cmd_doctor(const struct invocation *invocation);
enum exit_status cmd_quota(const struct invocation *invocation);
enum exit_status cmd_bench(const struct invocation *invocation);
