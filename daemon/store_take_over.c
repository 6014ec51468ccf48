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

uint64_t store_object_length(int fd) {
        struct stat stat;
        return fstat(fd, &stat) == 0 ? (uint64_t)stat.st_size : 0;
}

static int geometry_check(struct store *store) {
        const struct pool_settings *asked = &store->settings;
        const struct ledger_header *header = store->ledger.header;
        uint64_t page_bytes = UINT64_C(1) << header->page_shift;
        uint64_t size_bytes = ledger_load(&header->pages) * page_bytes;
        uint64_t max_bytes = header->pages_max * page_bytes;
        /* Larger than asked for, within the same limit: an operator let it grow. */
        if (page_bytes == asked->page_bytes && max_bytes == asked->max_size_bytes &&
                size_bytes >= asked->size_bytes) {
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
static bool ledger_is_ready(const struct store *store) {
        uint64_t ready = 0;
        off_t at = offsetof(struct ledger_header, ready);
        return pread(store->ledger_fd, &ready, sizeof(ready), at) == sizeof(ready) && ready != 0;
}

int store_examine_ledger(struct store *store, bool *finished) {
        uint64_t length = store_object_length(store->ledger_fd);
        if (length >= sizeof(struct ledger_header) && !ledger_is_ready(store)) {
                *finished = false;
                return 0;
        }
        int error = store_map_ledger(store, length);
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
        *finished = true;
        return geometry_check(store);
}

int store_check_segment(const struct store *store) {
        uint64_t length = store_object_length(store->segment_fd);
        if (length == store->settings.max_size_bytes)
                return 0;
        log_pool_error(store->settings.name,
                "pool '%s' has a segment of %s where its ledger says %s; throw its contents away "
                "with --reset",
                store->settings.name, bytes_exact(length).text,
                bytes_exact(store->settings.max_size_bytes).text);
        return -EUCLEAN;
}
