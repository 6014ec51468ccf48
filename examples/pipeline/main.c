/* pipeline: SHA-256 and compressed size of every file of a folder, by several processes that share one pool.
 *
 *   supervisor ── starts ──► reader, writer, N workers
 *
 *   reader ── piece: (offset, length, generation) ──► worker ── result ──► writer ── table
 *     ▲  ▲                                              │                    │
 *     │  └──────────────── piece consumed ──────────────┘                    │
 *     └───────────────────────────── file settled ───────────────────────────┘
 *
 * The reader reads file bytes straight into ranges of the pool and holds them until the writer has the
 * result; workers read them there. Nothing but records of a hundred bytes goes through the sockets.
 *
 * A file goes to one worker in pieces, each in a range of its own. A file that would take more than a window (a
 * quarter of the pool) is streamed: its pieces are released as the worker consumes them.
 *
 * If a worker is killed, its ranges are still there, because they are the reader's: its files go to another
 * worker as they are. Only a streamed file, of which pieces are gone, is read again from its start.
 *
 * Why it never deadlocks, however small the pool:
 *  1. The reader's courier thread waits for events only and always takes answers, so the writer, which waits for
 *     nothing but room for its answers, always goes on; so do the workers' results.
 *  2. The filler thread has one file open at a time; all other files in flight are complete: all their
 *     pieces are in ranges, and none of them needs memory to be finished.
 *  3. A worker waits for the filler only if the open file is what it has in hand. Nothing is put behind the open
 *     file at its worker, and among the files that wait for a worker the open one is the last. With two
 *     workers or more, one is thus free for complete files; with one, they are all before the open one. A worker that
 *     dies is replaced. So every complete file is settled, and its ranges come back, without the filler's doing.
 *  4. So if the filler waits for memory, then in the end this run holds no range but the open file's own. The
 *     pool has room for the next piece then, unless others hold it; and in case they do, the open file is
 *     streamed from then on: its worker consumes what it has, and the filler waits for others only, holding nothing.
 *  5. A file that is to be read again holds nothing while it waits for its turn with the filler. */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "options.h"
#include "supervisor.h"

int main(int argc, char **argv) {
        setlocale(LC_CTYPE, "");
        struct options options;
        int exit_code;
        if (!options_read(argc, argv, &options, &exit_code))
                return exit_code;
        struct stat status;
        if (stat(options.folder, &status)) {
                fprintf(stderr, "pipeline: cannot read %s: %s\n", options.folder, strerror(errno));
                return EXIT_BROKEN;
        }
        return supervisor_run(&options);
}
