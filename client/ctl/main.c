/* buddyctl: reads the command line, runs the command, and makes sure that what it printed has arrived. */
#include <locale.h>
#include <signal.h>

#include "arguments.h"
#include "output.h"

static enum exit_status run(const struct invocation *invocation) {
        if (invocation_has(invocation, OPTION_HELP)) {
                command_help(stdout, invocation->command);
                return EXIT_DONE;
        }
        if (invocation_has(invocation, OPTION_VERSION)) {
                puts("buddyctl " BUDDYD_VERSION);
                return EXIT_DONE;
        }
        return invocation->command->run(invocation);
}

int main(int argc, char **argv) {
        /* Characters are the user's; numbers look the same everywhere. */
        setlocale(LC_CTYPE, "");
        /* A reader that has seen enough is no fault: the write fails with EPIPE instead. */
        signal(SIGPIPE, SIG_IGN);

        struct invocation invocation;
        enum exit_status status = arguments_parse(argc, argv, &invocation);
        if (status == EXIT_DONE)
                status = run(&invocation);
        enum exit_status written = output_flush(NULL);
        return (int)(status == EXIT_DONE ? written : status);
}
