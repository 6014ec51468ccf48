/* stdout, at the end and between two screens. */
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "complain.h"

/* The error of a write that failed before the flush is lost; a pipe without reader still tells. */
static bool pipe_is_broken(void) {
        struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
        return poll(&output, 1, 0) == 1 && (output.revents & POLLERR);
}

enum exit_status output_flush(bool *reader_gone) {
        if (reader_gone)
                *reader_gone = false;
        errno = 0;
        if (fflush(stdout) == 0 && !ferror(stdout))
                return EXIT_DONE;
        int error = errno;
        clearerr(stdout);
        if (error == EPIPE || pipe_is_broken()) {
                if (reader_gone)
                        *reader_gone = true;
                return EXIT_DONE;
        }
        return complain(EXIT_REFUSED, "cannot write the output: %s",
                error != 0 ? strerror(error) : "an earlier write failed");
}
