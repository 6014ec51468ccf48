/* Whether what was printed has arrived. */
#pragma once

#include "command.h"

/* Flushes stdout, or drops what cannot be written and clears the error. 0; -EPIPE: nobody reads it (any more);
 * -ECANCELED: an earlier write failed, and why is lost; another negative errno. */
int output_write(void);

/* The same, with words. EXIT_DONE: all is written; EXIT_REFUSED: not, and said so in one line.
 * A reader that is gone has seen enough: that is done, too, with *reader_gone (may be NULL) set. */
enum exit_status output_flush(bool *reader_gone);
