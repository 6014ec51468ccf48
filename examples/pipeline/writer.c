/* The writer. For each slot it has a connection of its own, an inlet, to which the slot's worker gives its ranges: a
 * worker may die between giving a range and telling of it, and what the inlet holds then goes with the inlet, which is
 * replaced before the next worker is started. */
#include "writer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "name.h"
#include "pool.h"
#include "record.h"

struct writer {
        const struct options *options;
        const struct writer_links *links;
        struct buddyclient *inlets[WORKERS_MAX];
        FILE *table;
        uint8_t *written; /* a bit per file number: the table has it; owned */
        size_t written_bytes;
};

/* Marks the file. 1: it was marked before; 0; -ENOMEM. */
static int mark(struct writer *writer, uint64_t file) {
        size_t index = file / 8;
        if (index >= writer->written_bytes) {
                size_t bytes = (index + 1) * 2;
                uint8_t *grown = realloc(writer->written, bytes);
                if (!grown)
                        return -ENOMEM;
                memset(grown + writer->written_bytes, 0, bytes - writer->written_bytes);
                writer->written = grown;
                writer->written_bytes = bytes;
        }
        uint8_t bit = (uint8_t)(1U << file % 8);
        int before = (writer->written[index] & bit) != 0;
        writer->written[index] |= bit;
        return before;
}

static void put_line(FILE *table, const struct result_record *result, const char *path) {
        if (name_needs_escape(path))
                putc('\\', table);
        for (size_t i = 0; i < SHA256_BYTES; i++)
                fprintf(table, "%02x", result->sha256[i]);
        fprintf(table, "\t%" PRIu64 "\t%" PRIu64 "\t", result->bytes, result->compressed_bytes);
        name_put(table, path);
        putc('\n', table);
}

static int take_result(
        struct writer *writer, const struct result_record *result, const char *path) {
        if (result->last && !result->dropped) {
                int marked = mark(writer, result->file);
                if (marked < 0)
                        return marked;
                if (!marked)
                        put_line(writer->table, result, path);
                if (ferror(writer->table))
                        return errno ? -errno : -EIO;
        }
        struct settled_record settled = {.file = result->file,
                .reading = result->reading,
                .last = result->last,
                .bytes = result->bytes,
                .compressed_bytes = result->compressed_bytes,
                .dropped = result->dropped};
        int sent = record_send(writer->links->settled, &settled, sizeof(settled), NULL, true);
        return sent == -EPIPE ? 0 : sent; /* the reader waits for no answer that would matter */
}

static int range_release(struct writer *writer, const struct result_record *result) {
        if (!result->range.length)
                return 0;
        struct buddyclient *inlet = writer->inlets[result->slot];
        int error = buddyclient_release(inlet, &result->range);
        if (error)
                pool_complain("cannot release a range", inlet, error);
        return error;
}

/* Opens the slot's inlet, after closing the one that its last worker had. */
static int inlet_open(struct writer *writer, unsigned slot) {
        buddyclient_destroy(writer->inlets[slot]);
        writer->inlets[slot] = NULL;
        int result = pool_connect(writer->options, "pipeline writer", false, &writer->inlets[slot]);
        if (result)
                return result;
        struct inlet_record record = {.slot = slot, .peer = buddyclient_id(writer->inlets[slot])};
        int sent = record_send(writer->links->inlets, &record, sizeof(record), NULL, true);
        return sent == -EPIPE ? 0 : sent; /* the supervisor ends all with itself */
}

static int take_record(
        struct writer *writer, const struct result_record *result, const char *path) {
        if (result->slot >= writer->options->workers)
                return -EPROTO;
        if (result->worker_ended)
                return inlet_open(writer, result->slot);
        int error = take_result(writer, result, path);
        return error ? error : range_release(writer, result);
}

static int writer_serve(struct writer *writer) {
        for (;;) {
                struct {
                        struct result_record result;
                        char path[RECORD_PATH_MAX];
                } record;
                ssize_t length =
                        record_receive(writer->links->results, &record, sizeof(record), true);
                if (length <= 0)
                        return (int)length;
                int result = take_record(writer, &record.result, record.path);
                if (result)
                        return result;
        }
}

int writer_run(const struct options *options, const struct writer_links *links) {
        struct writer writer = {.options = options, .links = links, .table = stdout};
        if (options->output)
                writer.table = fopen(options->output, "we");
        int result = writer.table ? 0 : -errno;
        for (unsigned slot = 0; !result && slot < options->workers; slot++)
                result = inlet_open(&writer, slot);
        if (!result)
                result = writer_serve(&writer);
        if (writer.table && fclose(writer.table) && !result)
                result = -errno;
        for (unsigned slot = 0; slot < options->workers; slot++)
                buddyclient_destroy(writer.inlets[slot]);
        free(writer.written);
        if (result)
                fprintf(stderr, "pipeline: cannot write %s: %s\n",
                        options->output ? options->output : "the table", strerror(-result));
        return result ? EXIT_BROKEN : EXIT_ALL_DONE;
}
