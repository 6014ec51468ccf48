/* What a predecessor left, whatever its backing: is it whole, and is it what is asked for? */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "log.h"
#include "store_kind.h"

int store_object_length(const struct store *store, int fd, uint64_t *length) {
        struct stat stat;
        if (fstat(fd, &stat) < 0)
                return store_refuse(store, "see what is there", -errno);
        *length = (uint64_t)stat.st_size;
        return 0;
}

static int geometry_check(struct store *store) {
        const struct pool_settings *asked = &store->settings;
        const struct ledger_header *header = store->ledger.header;
        uint64_t page_bytes = UINT64_C(1) << header->page_shift;
        uint64_t size_bytes = ledger_load(&header->pages) * page_bytes;
        uint64_t max_bytes = header->pages_max * page_bytes;
        /* Any size that it had, or may have had, since it was made: an operator let it grow. */
        if (page_bytes == asked->page_bytes && max_bytes == asked->max_size_bytes &&
                asked->size_bytes <= size_bytes &&
                asked->size_bytes >= header->pages_first * page_bytes) {
                store->settings.size_bytes = size_bytes;
                return 0;
        }
        log_pool_error(store->settings.name,
                "pool '%s' exists with --size %s --max-size %s --page-size %s, and --size %s "
                "--max-size %s "
                "--page-size %s is asked for; ask for the old figures, or throw its contents "
                "away with --reset",
                asked->name, bytes_exact(size_bytes).text, bytes_exact(max_bytes).text,
                bytes_exact(page_bytes).text, bytes_exact(asked->size_bytes).text,
                bytes_exact(asked->max_size_bytes).text, bytes_exact(asked->page_bytes).text);
        return -EEXIST;
}

/* Read and not mapped: what was never written is a hole, and where memory has run out a touch of it is fatal. A
 * header that says it is ready is all there. */
static int ledger_is_ready(const struct store *store, uint64_t length, bool *ready) {
        uint64_t mark = 0;
        off_t at = offsetof(struct ledger_header, ready);
        *ready = true; /* one that was cut off was, and is damaged */
        if (length < sizeof(struct ledger_header))
                return 0;
        if (pread(store->ledger_fd, &mark, sizeof(mark), at) != sizeof(mark))
                return store_refuse(store, "read its ledger", errno ? -errno : -EIO);
        *ready = mark != 0;
        return 0;
}

int store_examine_ledger(struct store *store, bool *finished) {
        uint64_t length = 0;
        int error = store_object_length(store, store->ledger_fd, &length);
        if (!error)
                error = ledger_is_ready(store, length, finished);
        if (error || !*finished)
                return error;
        error = store_map_ledger(store, length);
        if (error)
                return store_refuse(store, "map its ledger", error);
        char fault[256] = "";
        error = ledger_open(store->ledger_memory, length, &store->ledger, fault, sizeof(fault));
        if (error == -ENODATA) {
                snprintf(fault, sizeof(fault), "its ledger is cut off after %" PRIu64 " bytes",
                        length);
                error = -EUCLEAN;
        }
        if (error) {
                log_pool_error(store->settings.name,
                        "pool '%s' is damaged: %s; throw its contents away with --reset",
                        store->settings.name, fault);
                return error;
        }
        return geometry_check(store);
}

int store_check_segment(const struct store *store) {
        uint64_t length = 0;
        int error = store_object_length(store, store->segment_fd, &length);
        if (error)
                return error;
        if (length == store->settings.max_size_bytes)
                return 0;
        log_pool_error(store->settings.name,
                "pool '%s' has a segment of %s where its ledger says %s; throw its contents away "
                "with --reset",
                store->settings.name, bytes_exact(length).text,
                bytes_exact(store->settings.max_size_bytes).text);
        return -EUCLEAN;
}
