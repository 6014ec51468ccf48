/* The worker. */
#include "worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <zlib.h>

#include "pool.h"
#include "record.h"

#define SCRATCH_BYTES (64 << 10)
#define ZLIB_LEVEL    1

struct worker {
        const struct worker_links *links;
        struct buddyclient *client;
        EVP_MD_CTX *digest;
        z_stream zlib;
        uint8_t scratch[SCRATCH_BYTES]; /* what zlib puts out is counted and forgotten */
        char path[RECORD_PATH_MAX];     /* of the file in hand */
        uint64_t bytes;
        uint64_t compressed_bytes;
};

static int broken(const char *what) {
        fprintf(stderr, "pipeline worker: %s\n", what);
        return -EIO;
}

/* Also forgets a file that was left unfinished: the reader does so when somebody's earlier result has come after all. */
static int file_begin(struct worker *worker, const char *path, size_t path_bytes) {
        if (!path_bytes || path_bytes > sizeof(worker->path) || path[path_bytes - 1])
                return broken("a record without a path");
        memcpy(worker->path, path, path_bytes);
        worker->bytes = worker->compressed_bytes = 0;
        if (!EVP_DigestInit_ex(worker->digest, EVP_sha256(), NULL))
                return broken("cannot begin SHA-256");
        return deflateReset(&worker->zlib) == Z_OK ? 0 : broken("cannot begin zlib");
}

static void file_compress(struct worker *worker, const uint8_t *bytes, uint64_t count, bool last) {
        worker->zlib.next_in = (Bytef *)bytes;
        worker->zlib.avail_in = (uInt)count;
        do {
                worker->zlib.next_out = worker->scratch;
                worker->zlib.avail_out = SCRATCH_BYTES;
                deflate(&worker->zlib, last ? Z_FINISH : Z_NO_FLUSH);
                worker->compressed_bytes += SCRATCH_BYTES - worker->zlib.avail_out;
        } while (!worker->zlib.avail_out);
}

static int file_take(struct worker *worker, const struct piece_record *piece) {
        const uint8_t *bytes = NULL;
        if (piece->bytes) {
                bytes = buddyclient_pointer(worker->client, &piece->range);
                if (!bytes || piece->bytes > piece->range.length || piece->bytes > UINT32_MAX)
                        return broken("a range outside the pool");
                if (!EVP_DigestUpdate(worker->digest, bytes, piece->bytes))
                        return broken("cannot compute SHA-256");
        }
        file_compress(worker, bytes, piece->bytes, piece->last);
        worker->bytes += piece->bytes;
        return 0;
}

/* Passes the range on, and with the last one the result. */
static int piece_end(struct worker *worker, const struct piece_record *piece) {
        struct result_record result = {.slot = worker->links->slot,
                .file = piece->file,
                .reading = piece->reading,
                .range = piece->range,
                .last = piece->last,
                .bytes = worker->bytes,
                .compressed_bytes = worker->compressed_bytes,
                .dropped = piece->dropped};
        if (piece->last && !EVP_DigestFinal_ex(worker->digest, result.sha256, NULL))
                return broken("cannot finish SHA-256");
        int error = 0;
        if (result.range.length)
                error = buddyclient_give(worker->client, &result.range, worker->links->inlet);
        if (error) {
                pool_complain("cannot give a range to the writer", worker->client, error);
                return error;
        }
        const char *path = piece->last ? worker->path : NULL;
        if (record_send(worker->links->results, &result, sizeof(result), path, true))
                return broken("the writer is gone");
        return 0;
}

static int worker_serve(struct worker *worker) {
        for (;;) {
                struct {
                        struct piece_record piece;
                        char path[RECORD_PATH_MAX];
                } record;
                ssize_t length =
                        record_receive(worker->links->reader, &record, sizeof(record), true);
                if (length == 0)
                        return 0;
                if (length < (ssize_t)sizeof(record.piece))
                        return broken("a broken record");
                const struct piece_record *piece = &record.piece;
                int result = 0;
                if (piece->first)
                        result = file_begin(
                                worker, record.path, (size_t)length - sizeof(record.piece));
                if (!result)
                        result = file_take(worker, piece);
                if (!result)
                        result = piece_end(worker, piece);
                if (result)
                        return result;
        }
}

/* Whom the reader is to give ranges to. A reader that is gone is seen where records are awaited. */
static void arrive(const struct worker *worker) {
        struct arrival_record record = {.peer = buddyclient_id(worker->client)};
        record_send(worker->links->reader, &record, sizeof(record), NULL, true);
}

int worker_run(const struct options *options, const struct worker_links *links) {
        static struct worker worker;
        worker.links = links;
        if (pool_connect(options, "pipeline worker", false, &worker.client))
                return EXIT_BROKEN;
        int result = -ENOMEM;
        worker.digest = EVP_MD_CTX_new();
        if (!worker.digest || deflateInit(&worker.zlib, ZLIB_LEVEL) != Z_OK)
                broken("out of memory");
        else {
                arrive(&worker);
                result = worker_serve(&worker);
        }
        deflateEnd(&worker.zlib);
        EVP_MD_CTX_free(worker.digest);
        buddyclient_destroy(worker.client);
        return result ? EXIT_BROKEN : EXIT_ALL_DONE;
}
