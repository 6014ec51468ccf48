/* The table of commands and the table of options, and the help that is made of them. */
#include "command.h"

#include <string.h>

#define EVERY_COMMAND                                                                              \
        (OPTION_BIT(OPTION_SOCKET) | OPTION_BIT(OPTION_POOL) | OPTION_BIT(OPTION_HELP) |           \
                OPTION_BIT(OPTION_VERSION))

#define TABLE_OPTIONS (OPTION_BIT(OPTION_BYTES) | OPTION_BIT(OPTION_COLUMNS))

const struct option options[OPTION_COUNT] = {
        [OPTION_SOCKET] = {"socket", "PATH",
                "its socket (else $BUDDYD_SOCKET, else the usual place)"},
        [OPTION_POOL] = {"pool", "NAME", "the pool (else \"default\")"},
        [OPTION_HELP] = {"help", NULL, "show this help", 'h'},
        [OPTION_VERSION] = {"version", NULL, "show the version"},
        [OPTION_JSON] = {"json", NULL, "print JSON"},
        [OPTION_WATCH] = {"watch", "SECS", "again every SECS seconds until interrupted"},
        [OPTION_SORT] = {"sort", "KEY", "id, name, pid, uid, held, cached or waiting"},
        [OPTION_CLIENT] = {"client", "ID", "only what this client holds"},
        [OPTION_SECONDS] = {"seconds", "SECS", "how long to measure in all (else 3)"},
        [OPTION_UNPINNED] = {"unpinned", NULL, "leave the CPUs of daemon and client as they are"},
        [OPTION_OFFLINE] = {"offline", NULL, "examine a pool that no daemon serves"},
        [OPTION_OFF] = {"off", NULL, "serve again"},
        [OPTION_WAIT] = {"wait", "[=SECS]", "until the pool is empty, for SECS at most"},
        [OPTION_SET] = {"set", "LIMIT=VALUE", "change a limit: a number, none or share"},
        [OPTION_UID] = {"uid", "UID", "whose pool to examine offline (else your own)"},
        [OPTION_BYTES] = {"bytes", NULL, "print sizes in bytes", 'b'},
        [OPTION_COLUMNS] = {"columns", "LIST", "only these columns, by name, with commas", 'o'},
        [OPTION_BY] = {"by", "WHAT", "share (held, cached, free: unless given) or client"},
        [OPTION_WIDTH] = {"width", "N", "columns, 10 to 1000 (else the terminal's)"},
        [OPTION_SVG] = {"svg", "FILE", "write a picture for browsers; \"-\": to stdout"},
        [OPTION_TEXTFILE] = {"textfile", "FILE", "write FILE at once, for a textfile collector"},
        [OPTION_LISTEN] = {"listen", "ADDRESS:PORT", "serve them by HTTP until interrupted"},
        [OPTION_FORMAT] = {"format", "FORMAT", "openmetrics, or prometheus (its older text)"},
        [OPTION_MIN_LARGEST] = {"min-largest", "SIZE", "the largest free block must have this"},
        [OPTION_MAX_UNUSABLE] = {"max-unusable", "RATIO@ORDER",
                "so much may be unusable for an order, as 0.5@9"},
};

static const struct command commands[] = {
        {"ping", "one round trip to the daemon, and its time", NULL, OPTION_BIT(OPTION_JSON),
                "From the request to its reply, on a connection that stands already.\n", cmd_ping},
        {"stats", "the pool at a glance", NULL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_WATCH) | TABLE_OPTIONS,
                "Totals count since the daemon's start. held + cached + free = size.\n"
                "Rates are since that start, with --watch since the figures before; with --json\n"
                "one object a line then, with --columns one row.\n",
                cmd_stats},
        {"orders", "free and held blocks of each size, and fragmentation", NULL,
                OPTION_BIT(OPTION_JSON) | TABLE_OPTIONS,
                "unusable:       how much of the free memory cannot serve this block size, 0..1\n"
                "fragmentation:  why it cannot be served: towards 0 for lack of memory, towards 1\n"
                "                for fragmentation; -1 while it can be.\n",
                cmd_orders},
        {"map", "the address space as a picture: what is held, cached, free", NULL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_BY) | OPTION_BIT(OPTION_WIDTH) |
                        OPTION_BIT(OPTION_SVG) | OPTION_BIT(OPTION_BYTES),
                "One character is a cell: the fuller, the more of it is in use. By client it is\n"
                "the letter of who has most of it. In the picture of --svg, the pointer on a run\n"
                "of cells shows its offsets, figures and holders; FILE is replaced as a whole.\n",
                cmd_map},
        {"clients", "who is connected", NULL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_SORT) | TABLE_OPTIONS,
                "Sorted by id; by held, cached or waiting, the largest comes first.\n",
                cmd_clients},
        {"ranges", "every held range with holder, age and length", NULL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_CLIENT) | TABLE_OPTIONS,
                "Offsets are bytes from the segment's base, as \"free\" takes them.\n", cmd_ranges},
        {"top", "live full-screen view: map, rates, clients, orders", NULL,
                OPTION_BIT(OPTION_WATCH) | OPTION_BIT(OPTION_SORT) | OPTION_BIT(OPTION_BY),
                "The key h shows all keys, q quits. A daemon that goes away is shown as away, and\n"
                "found again when it is back.\n",
                cmd_top},
        {"alloc", "hold a range by hand", "BYTES", OPTION_BIT(OPTION_JSON),
                "BYTES takes K, M, G, T (powers of two). The range is held by the operator, also\n"
                "when this command has ended, until \"free OFFSET\".\n",
                cmd_alloc},
        {"free", "return a range that was held by hand", "OFFSET", OPTION_BIT(OPTION_JSON),
                "OFFSET as \"alloc\" printed it: decimal, 0x..., or with K, M, G, T.\n"
                "Only the operator's hold is dropped, never a client's.\n",
                cmd_free},
        {"kick", "end a client's session", "ID", OPTION_BIT(OPTION_JSON),
                "What it holds is returned at once, be the client away or stopped, and its calls\n"
                "answer -ENOTCONN from then on. ID as \"clients\" prints it.\n"
                "For root, the daemon's user and the pool's admin group.\n",
                cmd_kick},
        {"drain", "grant nothing any more, until the pool is empty", NULL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_OFF) | OPTION_BIT(OPTION_WAIT),
                "Allocs, also waiting ones, are refused with -ENOMEM; all else goes on. Says how\n"
                "much is held by how many. Ends with --off, and with the daemon.\n"
                "For root, the daemon's user and the pool's admin group.\n",
                cmd_drain},
        {"trim", "give free memory back to the system", NULL, OPTION_BIT(OPTION_JSON),
                "In stretches of 2 MiB in which nothing is held; grants reserve them again.\n"
                "In lazy pools only: an eager one keeps every page reserved.\n"
                "For root, the daemon's user and the pool's admin group.\n",
                cmd_trim},
        {"grow", "make the pool larger, under its clients", "BYTES", OPTION_BIT(OPTION_JSON),
                "BYTES is the size that the pool then has, at most its max-size; it takes K, M,\n"
                "G, T. An eager pool reserves the new part first. Restarts keep the size.\n"
                "For root, the daemon's user and the pool's admin group.\n",
                cmd_grow},
        {"quota", "what each uid uses and may use", NULL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_SET) | OPTION_BIT(OPTION_BYTES) |
                        OPTION_BIT(OPTION_COLUMNS),
                "Limits bind clients and uids; \"share\" is half of what the others leave, which\n"
                "binds neither root nor the daemon's user. What --set changes lasts until the\n"
                "daemon ends: write it into the configuration, too. See buddyd.conf(5) for each\n"
                "limit.\n",
                cmd_quota},
        {"check", "walk every invariant of a pool", OPERAND_POOL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_OFFLINE) | OPTION_BIT(OPTION_UID) |
                        OPTION_BIT(OPTION_MIN_LARGEST) | OPTION_BIT(OPTION_MAX_UNUSABLE),
                "Prints what was checked; exit status 4 and the fault if something does not hold.\n"
                "Requests wait while it runs. With --offline, what a daemon has left is examined\n"
                "without it and not changed: POOL, else the pool of --pool, in /dev/shm.\n"
                "With limits, --max-unusable as often as you like, only these are looked at, by\n"
                "anybody, and nobody waits; exit status 4 if one is exceeded.\n",
                cmd_check},
        {"doctor", "look for what is wrong around a daemon and its pool", NULL,
                OPTION_BIT(OPTION_JSON),
                "Socket, limits, /dev/shm, memory, cgroup, huge pages, seals, and what daemons\n"
                "that died have left. For each finding, what is wrong and the command that mends\n"
                "it. Exit status 0 all is well, 4 something is wrong, 3 no daemon answers (the\n"
                "rest is looked at still).\n",
                cmd_doctor},
        {"metrics", "all figures of all pools for monitoring, as OpenMetrics", NULL,
                OPTION_BIT(OPTION_TEXTFILE) | OPTION_BIT(OPTION_LISTEN) |
                        OPTION_BIT(OPTION_FORMAT) | OPTION_BIT(OPTION_JSON),
                "Without options, to standard output. A textfile is written beside FILE and then\n"
                "renamed, in Prometheus' older text unless --format says otherwise, for\n"
                "node_exporter.\n"
                "--listen answers GET /metrics in what the scraper accepts, 503 while there is no\n"
                "daemon; port 0 is any free one. It prints where it listens.\n",
                cmd_metrics},
        {"bench", "measure this machine: round trips, batches, cached pairs", NULL,
                OPTION_BIT(OPTION_JSON) | OPTION_BIT(OPTION_SECONDS) | OPTION_BIT(OPTION_UNPINNED),
                "Runs against the daemon and its pool, holds 64 pages or 8 MiB and leaves none.\n"
                "Daemon, client and all other ends share one CPU while it runs, if that is\n"
                "permitted; the daemon's own setting comes back at the end.\n",
                cmd_bench},
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

const struct command *command_find(const char *name) {
        for (size_t i = 0; i < COMMAND_COUNT; i++)
                if (strcmp(commands[i].name, name) == 0)
                        return &commands[i];
        return NULL;
}

bool command_takes(const struct command *command, enum option_id option) {
        unsigned taken = EVERY_COMMAND | (command ? command->options : 0);
        return (taken & OPTION_BIT(option)) != 0;
}

static void help_options(FILE *out, const struct command *command) {
        fputs("\nOptions:\n", out);
        for (enum option_id id = 0; id < OPTION_COUNT; id++) {
                const struct option *option = &options[id];
                if (!command_takes(command, id))
                        continue;
                const char *placeholder = option->placeholder ? option->placeholder : "";
                int width = option->letter ? fprintf(out, "  -%c, ", option->letter)
                                           : fprintf(out, "  ");
                width += fprintf(out, "--%s%s%s", option->name,
                        *placeholder && *placeholder != '[' ? " " : "", placeholder);
                fprintf(out, "%*s%s\n", width < 22 ? 22 - width : 1, "", option->help);
        }
}

/* On one screen, however many commands there are: the options in words. */
static void help_tool(FILE *out) {
        fputs("Usage: buddyctl [--socket PATH] [--pool NAME] COMMAND [--help] ...\n\n", out);
        for (size_t i = 0; i < COMMAND_COUNT; i++)
                fprintf(out, "  %s %-*s%s\n", commands[i].name, 15 - (int)strlen(commands[i].name),
                        commands[i].operand ? commands[i].operand : "", commands[i].summary);
        fputs("\n--socket: else $BUDDYD_SOCKET, else the usual place; --pool: else \"default\".\n"
              "Exit status: 0 done, 1 refused, 2 usage, 3 daemon unreachable, 4 fault found.\n",
                out);
}

void command_help(FILE *out, const struct command *command) {
        if (!command) {
                help_tool(out);
                return;
        }
        fprintf(out, "Usage: buddyctl %s [OPTION...]%s%s\n\nbuddyctl %s: %s.\n\n%s", command->name,
                command->operand ? " " : "", command->operand ? command->operand : "",
                command->name, command->summary, command->details);
        help_options(out, command);
}
