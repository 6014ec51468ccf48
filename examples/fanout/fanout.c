/* fanout: one publisher fills a range, several readers check it where it is.
 *
 * In every round the publisher takes a range, fills it and sends each reader its name through a pipe. Each reader
 * attaches to it, which makes it a holder of its own. When all have, the publisher releases its hold: the
 * range lives on, until the last reader has released it, too. The readers map the pool read-only.
 *
 * The readers are forked before anything connects, since a connection does not survive a fork. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <buddyclient.h>

#include "options.h"

struct offer { /* publisher to reader: all that has to be known of a range */
        struct buddyclient_range range;
        uint64_t bytes;
        uint64_t checksum;
};

enum word {                  /* of one byte */
        WORD_ATTACHED = 'a', /* reader: the range is mine, too */
        WORD_ALONE = 'p',    /* publisher: it is not mine any more */
        WORD_RIGHT = 'y',    /* reader: released, and the bytes were as offered */
        WORD_WRONG = 'n',    /* reader: released, but they were not */
};

struct reader {
        pid_t pid;
        int to, from; /* pipes */
};

static int complain(const char *who, struct buddyclient *client, const char *what, int error) {
        const char *detail = buddyclient_detail(client);
        fprintf(stderr, "fanout %s: %s: %s\n", who, what,
                detail[0] ? detail : buddyclient_strerror(error));
        return error;
}

/* Every message is shorter than PIPE_BUF, so it arrives whole or not at all. */
static int pipe_put(int fd, const void *message, size_t bytes) {
        return write(fd, message, bytes) == (ssize_t)bytes ? 0 : -EPIPE;
}

static int pipe_take(int fd, void *message, size_t bytes) {
        return read(fd, message, bytes) == (ssize_t)bytes ? 0 : -EPIPE;
}

/* FNV-1a over words and the bytes behind them. */
static uint64_t checksum_of(const unsigned char *memory, uint64_t bytes) {
        uint64_t sum = 0xcbf29ce484222325, at = 0, word;
        for (; at + sizeof(word) <= bytes; at += sizeof(word)) {
                memcpy(&word, memory + at, sizeof(word));
                sum = (sum ^ word) * 0x100000001b3;
        }
        for (; at < bytes; at++)
                sum = (sum ^ memory[at]) * 0x100000001b3;
        return sum;
}

static int connected(const struct options *options, const char *who, struct buddyclient **out) {
        struct buddyclient *client;
        int rc = buddyclient_new(&client);
        if (rc) {
                fprintf(stderr, "fanout: %s\n", buddyclient_strerror(rc));
                return rc;
        }
        if (options->socket)
                rc = buddyclient_set_socket(client, options->socket);
        if (!rc && options->pool)
                rc = buddyclient_set_pool(client, options->pool);
        if (!rc)
                rc = buddyclient_set_name(client, who);
        if (!rc)
                rc = buddyclient_set_read_only(client, strcmp(who, "publisher") != 0);
        if (!rc)
                rc = buddyclient_connect(client);
        if (rc) {
                complain(who, client, "cannot connect", rc);
                buddyclient_destroy(client);
                return rc;
        }
        *out = client;
        return 0;
}

/* ---- A reader ---- */

static int reader_check(struct buddyclient *client, const struct offer *offer, int in, int out) {
        int rc = buddyclient_attach(client, &offer->range);
        if (rc)
                return complain("reader", client, "cannot attach", rc);
        char word = WORD_ATTACHED;
        if (pipe_put(out, &word, 1) || pipe_take(in, &word, 1))
                return -EPIPE;
        const unsigned char *memory = buddyclient_pointer(client, &offer->range);
        bool right = offer->bytes <= offer->range.length &&
                     checksum_of(memory, offer->bytes) == offer->checksum;
        rc = buddyclient_release(client, &offer->range);
        if (rc)
                return complain("reader", client, "cannot release", rc);
        word = right ? WORD_RIGHT : WORD_WRONG;
        return pipe_put(out, &word, 1);
}

static int reader_run(const struct options *options, int in, int out) {
        struct buddyclient *client;
        int rc = connected(options, "reader", &client);
        if (rc)
                return EXIT_FAILURE;
        struct offer offer;
        while (!rc && !pipe_take(in, &offer, sizeof(offer)))
                rc = reader_check(client, &offer, in, out);
        buddyclient_destroy(client);
        return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int reader_start(const struct options *options, struct reader *readers, unsigned index) {
        int to[2], from[2];
        if (pipe(to) || pipe(from))
                return -errno;
        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                close(to[1]);
                close(from[0]);
                for (unsigned i = 0; i < index; i++) {
                        close(readers[i].to); /* else those would not see the publisher's end */
                        close(readers[i].from);
                }
                _exit(reader_run(options, to[0], from[1]));
        }
        close(to[0]);
        close(from[1]);
        readers[index] = (struct reader){pid, to[1], from[0]};
        return 0;
}

/* ---- The publisher ---- */

static int complain_of_reader(unsigned index, const char *what, int error) {
        fprintf(stderr, "fanout: reader %u %s\n", index + 1, what);
        return error;
}

static int to_all(const struct options *options, const struct reader *readers, const void *message,
        size_t bytes) {
        for (unsigned i = 0; i < options->readers; i++)
                if (pipe_put(readers[i].to, message, bytes))
                        return complain_of_reader(i, "is gone", -EPIPE);
        return 0;
}

static int hear_all(const struct options *options, const struct reader *readers, char expected) {
        for (unsigned i = 0; i < options->readers; i++) {
                char word = 0;
                if (pipe_take(readers[i].from, &word, 1))
                        return complain_of_reader(i, "is gone", -EPIPE);
                if (word != expected)
                        return complain_of_reader(i, "read other bytes", -EIO);
        }
        return 0;
}

static uint64_t held_bytes(struct buddyclient *client) {
        struct buddyclient_stats stats = {.struct_size = sizeof(stats)};
        int rc = buddyclient_stats(client, &stats);
        if (rc)
                complain("publisher", client, "cannot ask the pool how it is", rc);
        return rc ? UINT64_MAX : stats.held_bytes;
}

static void fill(unsigned char *memory, uint64_t bytes, uint64_t seed) {
        for (uint64_t at = 0; at < bytes; at++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                memory[at] = (unsigned char)(seed >> 56);
        }
}

static int publish_round(const struct options *options, const struct reader *readers,
        struct buddyclient *client, uint64_t round) {
        struct offer offer = {.bytes = options->bytes};
        int rc = buddyclient_alloc(client, options->bytes, &offer.range);
        if (rc)
                return complain("publisher", client, "cannot take a range", rc);
        unsigned char *memory = buddyclient_pointer(client, &offer.range);
        fill(memory, offer.bytes, round);
        offer.checksum = checksum_of(memory, offer.bytes);
        rc = to_all(options, readers, &offer, sizeof(offer));
        if (!rc)
                rc = hear_all(options, readers, WORD_ATTACHED);
        if (rc)
                return rc;
        rc = buddyclient_release(client, &offer.range);
        if (rc)
                return complain("publisher", client, "cannot release", rc);
        uint64_t held = held_bytes(client);
        const char alone = WORD_ALONE;
        rc = to_all(options, readers, &alone, 1);
        if (!rc)
                rc = hear_all(options, readers, WORD_RIGHT);
        if (!rc)
                printf("round %" PRIu64 ": offset %" PRIu64 ", %" PRIu64
                       " bytes, checksum %016" PRIx64 ": %u readers agree; held_bytes %" PRIu64
                       " without the publisher, %" PRIu64 " after the last reader\n",
                        round, offer.range.offset, offer.bytes, offer.checksum, options->readers,
                        held, held_bytes(client));
        return rc;
}

static int publisher_run(const struct options *options, const struct reader *readers) {
        struct buddyclient *client;
        int rc = connected(options, "publisher", &client);
        if (rc)
                return rc;
        for (uint64_t round = 1; !rc && round <= options->rounds; round++)
                rc = publish_round(options, readers, client, round);
        if (!rc)
                printf("pool now: held_bytes %" PRIu64 "\n", held_bytes(client));
        buddyclient_destroy(client);
        return rc;
}

/* The readers end with their pipes. */
static int readers_end(const struct reader *readers, unsigned count) {
        int rc = 0;
        for (unsigned i = 0; i < count; i++)
                close(readers[i].to);
        for (unsigned i = 0; i < count; i++) {
                int status;
                if (waitpid(readers[i].pid, &status, 0) != readers[i].pid || status)
                        rc = -ECHILD;
        }
        return rc;
}

int main(int argc, char **argv) {
        struct options options;
        int exit_code;
        if (!options_read(argc, argv, &options, &exit_code))
                return exit_code;
        setvbuf(stdout, NULL, _IOLBF, 0);
        signal(SIGPIPE, SIG_IGN); /* a reader that is gone is told by write */
        struct reader readers[READERS_MAX];
        unsigned started = 0;
        int rc = 0;
        while (!rc && started < options.readers) {
                rc = reader_start(&options, readers, started);
                if (rc)
                        fprintf(stderr, "fanout: cannot start a reader: %s\n", strerror(-rc));
                else
                        started++;
        }
        if (!rc)
                rc = publisher_run(&options, readers);
        int ended = readers_end(readers, started);
        return rc || ended ? EXIT_FAILURE : EXIT_SUCCESS;
}
