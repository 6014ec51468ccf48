/* stdout, at the end and between two screens. */
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"

/* The error of a write that failed before the flush is lost; a pipe without reader still tells. */
static bool pipe_is_broken(void) {
        struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
        return poll(&output, 1, 0) == 1 && (output.revents & POLLERR);
}

int output_write(void) {
        errno = 0;
        if (fflush(stdout) == 0 && !ferror(stdout))
                return 0;
        int error = errno != 0 ? errno : ECANCELED;
        clearerr(stdout);
        __fpurge(stdout);
        return error == EPIPE || pipe_is_broken() ? -EPIPE : -error;
}

enum exit_status output_flush(bool *reader_gone) {
        int error = output_write();
        if (reader_gone)
                *reader_gone = error == -EPIPE;
        if (error == 0 || error == -EPIPE)
                return EXIT_DONE;
        return complain(EXIT_REFUSED, "cannot write the output: %s; give it somewhere to go",
                error == -ECANCELED ? "an earlier write failed" : strerror(-error));
}
