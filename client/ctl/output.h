/* Whether what was printed has arrived. */
#pragma once

#include "command.h"

/* Flushes stdout and clears its error. EXIT_DONE: all is written; EXIT_REFUSED: not, and said so in one line.
 * A reader that is gone has seen enough: that is done, too, with *reader_gone (may be NULL) set. */
enum exit_status output_flush(bool *reader_gone);
