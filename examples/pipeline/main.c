/* pipeline: SHA-256 and compressed size of every file of a folder, by several processes that share one pool.
 *
 *   supervisor ── starts ──► reader, writer, N workers
 *
 *   reader ── piece: (offset, length, generation) ──► worker ── piece, result ──► writer ── table
 *     ▲                                                                           │
 *     └──────────────────────── piece settled, file settled ──────────────────────┘
 *
 * The reader reads file bytes straight into ranges of the pool, the workers read them there, and the writer releases
 * the ranges. With every piece its range is given to the next process: each stage holds what it works on, and nobody
 * else does. Nothing but records of a hundred bytes goes through the sockets.
 *
 * A file goes to one worker in pieces, each in a range of its own, which is free as soon as the worker is done with it.
 * So a file may be larger than the pool.
 *
 * If a worker is killed, its ranges are free at once, and its files are done again: read again from their start, or,
 * if nothing of them was given to it yet, given to another worker. What it had given to the writer without being able to
 * tell goes with the inlet (writer.c).
 *
 * Why it never deadlocks, however small the pool:
 *  1. The reader's courier thread waits for events, and for answers of the daemon that need no memory, and always takes
 *     what the writer answers. So the writer, which waits for nothing but room for its answers, always goes on; so do
 *     the workers' results.
 *  2. The filler thread has one file open at a time; all other files in flight are complete: all their pieces are in
 *     ranges or done already, and none of them needs memory to be finished.
 *  3. A worker waits for the filler only if the open file is what it has in hand. Nothing is put behind the open
 *     file at its worker, and among the files that wait for a worker the open one is the last. With two
 *     workers or more, one is thus free for complete files; with one, they are all before the open one. A worker that
 *     dies is replaced. So every piece reaches a worker and then the writer, and its range comes back, without the
 *     filler's doing.
 *  4. So if the filler waits for memory, then in the end this run holds no range at all, and the pool has room for the
 *     next piece, unless others hold it; then the filler waits for others only, holding nothing.
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
