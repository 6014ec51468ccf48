/* The filler thread, and the reader's beginning and end. */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "courier.h"
#include "flight.h"
#include "name.h"
#include "pool.h"
#include "walk.h"

#define PIECE_BYTES_MAX (256 << 10)

struct reader {
        const struct options *options;
        struct buddyclient *client;
        struct flight flight;
        uint64_t piece_bytes; /* largest range that is asked for */
        uint64_t next_number;
};

static void complain_of(struct reader *reader, const char *path, int error) {
        pthread_mutex_lock(&reader->flight.lock);
        picture_clear(&reader->flight.picture);
        fputs("pipeline: cannot read ", stderr);
        name_put(stderr, path);
        fprintf(stderr, ": %s\n", strerror(error));
        pthread_mutex_unlock(&reader->flight.lock);
}

static void count_unreadable(struct reader *reader, const char *path, int error) {
        complain_of(reader, path, error);
        pthread_mutex_lock(&reader->flight.lock);
        reader->flight.report.unreadable++;
        pthread_mutex_unlock(&reader->flight.lock);
}

/* ---- Ranges ---- */

/* Waits until the pool grants. */
static int wait_for_range(struct reader *reader, uint64_t length, struct buddyclient_range *range) {
        int result;
        do
                result = buddyclient_alloc_wait(reader->client, length, -1, range);
        while (result == -EDQUOT && flight_wait_return(&reader->flight));
        return result;
}

static void take_range(struct reader *reader, uint64_t length, struct buddyclient_range *range) {
        int result = buddyclient_alloc(reader->client, length, range);
        if (result == -ENOMEM || result == -EDQUOT) {
                uint64_t begun = report_clock_us();
                result = wait_for_range(reader, length, range);
                pthread_mutex_lock(&reader->flight.lock);
                reader->flight.report.waits++;
                reader->flight.report.waited_us += report_clock_us() - begun;
                pthread_mutex_unlock(&reader->flight.lock);
        }
        if (result) {
                pool_complain("the pool grants no range", reader->client, result);
                _exit(EXIT_BROKEN);
        }
        flight_hold(&reader->flight, range);
}

/* ---- Pieces ---- */

/* Reads up to room bytes into memory. Returns how many, fewer only at the end of the file, or -errno. */
static ssize_t read_fully(int fd, uint8_t *memory, uint64_t room, uint64_t offset) {
        uint64_t done = 0;
        while (done < room) {
                ssize_t got = pread(fd, memory + done, room - done, (off_t)(offset + done));
                if (got == 0)
                        break;
                if (got < 0 && errno != EINTR)
                        return -errno;
                if (got > 0)
                        done += (uint64_t)got;
        }
        return (ssize_t)done;
}

/* Whether there is a byte at offset: 1, 0 or -errno. */
static ssize_t probe(int fd, uint64_t offset) {
        uint8_t byte;
        return read_fully(fd, &byte, 1, offset);
}

/* How much to ask for: what the file still has by its inode, which may be wrong either way. 0: nothing. */
static ssize_t piece_length(const struct reader *reader, int fd, uint64_t offset) {
        struct stat status;
        if (fstat(fd, &status))
                return -errno;
        uint64_t size = (uint64_t)status.st_size;
        if (size <= offset)
                return probe(fd, offset);
        return (ssize_t)(size - offset < reader->piece_bytes ? size - offset : reader->piece_bytes);
}

/* Reads what is at offset into a range of the pool. 0, or -errno; the piece is filled in as far as it goes. */
static int read_piece(struct reader *reader, int fd, uint64_t offset, struct piece *piece) {
        ssize_t length = piece_length(reader, fd, offset);
        if (length <= 0) {
                piece->last = true;
                return (int)length;
        }
        take_range(reader, (uint64_t)length, &piece->range);
        ssize_t got = read_fully(fd, buddyclient_pointer(reader->client, &piece->range),
                piece->range.length, offset);
        if (got < 0)
                return (int)got;
        piece->bytes = (uint64_t)got;
        ssize_t more = piece->bytes < piece->range.length ? 0 : probe(fd, offset + piece->bytes);
        piece->last = more == 0;
        return more < 0 ? (int)more : 0;
}

/* ---- Files ---- */

static int open_regular(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        struct stat status;
        int error = fstat(fd, &status) ? errno : S_ISREG(status.st_mode) ? 0 : ESTALE;
        if (!error)
                return fd;
        close(fd);
        return -error;
}

/* Queues the open file, piece by piece; afterwards it is the courier's. */
static void fill_file(struct reader *reader, struct file *file, int fd) {
        uint64_t offset = 0;
        for (;;) {
                struct piece *piece = flight_piece_new();
                int result = read_piece(reader, fd, offset, piece);
                if (result) {
                        complain_of(reader, file->path, -result);
                        flight_drop(&reader->flight, file, piece);
                        return;
                }
                bool last = piece->last;
                uint64_t bytes = piece->bytes;
                enum flight_verdict verdict = flight_add(&reader->flight, file, piece);
                if (verdict == FLIGHT_OVER || (verdict == FLIGHT_ADDED && last))
                        return;
                offset = verdict == FLIGHT_RESTART ? 0 : offset + bytes;
        }
}

static void fill_again(struct reader *reader, bool to_the_end) {
        struct file *file;
        while ((file = flight_next_again(&reader->flight, to_the_end))) {
                int fd = open_regular(file->path);
                if (fd < 0) {
                        complain_of(reader, file->path, -fd);
                        flight_drop(&reader->flight, file, NULL);
                        continue;
                }
                fill_file(reader, file, fd);
                close(fd);
        }
}

static void visit_file(struct reader *reader, const char *path) {
        fill_again(reader, false);
        int fd = open_regular(path);
        if (fd < 0) {
                count_unreadable(reader, path, -fd);
                return;
        }
        fill_file(reader, flight_begin(&reader->flight, reader->next_number++, path), fd);
        close(fd);
}

static void visit_to_fill(void *context, const struct walk_entry *entry) {
        struct reader *reader = context;
        switch (entry->kind) {
        case WALK_FILE:
                visit_file(reader, entry->path);
                break;
        case WALK_LINK:
                reader->flight.report.links++; /* the courier does not look at it */
                break;
        case WALK_SPECIAL:
                reader->flight.report.specials++;
                break;
        case WALK_UNREADABLE:
                count_unreadable(reader, entry->path, entry->error);
                break;
        }
}

static void visit_to_count(void *context, const struct walk_entry *entry) {
        uint64_t *total = context;
        *total += entry->bytes;
}

/* ---- The process ---- */

/* Pieces are small beside the pool, so that one file cannot have all of it to itself while others wait. */
static void reader_measure(struct reader *reader) {
        uint64_t size = buddyclient_size(reader->client);
        uint64_t piece = PIECE_BYTES_MAX;
        while (piece > size / 8 && piece > buddyclient_page_size(reader->client))
                piece /= 2;
        reader->piece_bytes = piece;
}

static int reader_walk(struct reader *reader) {
        uint64_t total = 0;
        int result = walk_folder(reader->options->folder, visit_to_count, &total);
        if (result)
                return result;
        pthread_mutex_lock(&reader->flight.lock);
        reader->flight.picture.total_bytes = total;
        pthread_mutex_unlock(&reader->flight.lock);
        result = walk_folder(reader->options->folder, visit_to_fill, reader);
        if (result)
                return result;
        fill_again(reader, true);
        return 0;
}

static int reader_fill(struct reader *reader, const struct reader_links *links) {
        struct courier courier = {.flight = &reader->flight,
                .client = reader->client,
                .control = links->control,
                .settled = links->settled,
                .drill = reader->options->drill,
                .drill_after = reader->options->drill_after};
        uint64_t begun = report_clock_us();
        int result = courier_start(&courier);
        if (result) {
                fprintf(stderr, "pipeline: cannot start a thread: %s\n", strerror(-result));
                return EXIT_BROKEN;
        }
        result = reader_walk(reader);
        if (result) {
                fprintf(stderr, "pipeline: cannot walk %s: %s\n", reader->options->folder,
                        strerror(-result));
                _exit(EXIT_BROKEN); /* the courier is still under way */
        }
        courier_finish(&courier);
        reader->flight.report.elapsed_us = report_clock_us() - begun;
        reader->flight.report.pool_bytes = buddyclient_size(reader->client);
        return EXIT_ALL_DONE;
}

int reader_run(const struct options *options, const struct reader_links *links) {
        struct reader *reader = calloc(1, sizeof(*reader));
        if (!reader || pool_connect(options, "pipeline reader", false, &reader->client)) {
                free(reader);
                return EXIT_BROKEN;
        }
        reader->options = options;
        reader_measure(reader);
        int exit_code = EXIT_BROKEN;
        int result = flight_init(&reader->flight, options->workers);
        if (result) {
                fprintf(stderr, "pipeline: %s\n", strerror(-result));
                goto disconnect;
        }
        picture_init(&reader->flight.picture, buddyclient_size(reader->client));
        exit_code = reader_fill(reader, links);
        if (exit_code == EXIT_ALL_DONE && courier_report(links->control, &reader->flight.report))
                exit_code = EXIT_BROKEN;
        flight_deinit(&reader->flight); /* ends the workers: only now, as the supervisor replaces
                                           them until it has the report */
disconnect:
        buddyclient_destroy(reader->client);
        free(reader);
        return exit_code;
}
