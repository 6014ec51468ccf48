/* A segment that a client has cut or punched holes into: noticed, said, and made whole. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "ration.h"
#include "store.h"
#include "store_kind.h"

/* A length that is not the segment's own: -errno if it cannot be put right. */
static int length_mend(const struct store *store, uint64_t found_bytes) {
        uint64_t own_bytes = store->settings.max_size_bytes;
        ration_event(LOG_EVENT_SEGMENT_CHANGED, &(struct log_subject){.pool = store->settings.name},
                "pool '%s': a client has changed the length of its segment from %s to %s; it "
                "is put back, but bytes that were cut off are lost: keep such clients out, "
                "or use backing = memfd",
                store->settings.name, bytes_exact(own_bytes).text, bytes_exact(found_bytes).text);
        return ftruncate(store->segment_fd, (off_t)own_bytes) < 0 ? -errno : 0;
}

/* What ought to be there by then and is not. */
static uint64_t missing_bytes(struct store *store, uint64_t pages) {
        if (store->settings.commit == COMMIT_LAZY)
                return reserve_map_missing(&store->reserved);
        uint64_t wanted = pages * store->settings.page_bytes;
        uint64_t there = reserve_resident_bytes(store->segment_fd);
        return there < wanted ? wanted - there : 0;
}

static int holes_mend(struct store *store, uint64_t pages, uint64_t missing) {
        ration_event(LOG_EVENT_SEGMENT_CHANGED, &(struct log_subject){.pool = store->settings.name},
                "pool '%s': a client has punched holes of %s into its segment; memory is "
                "put behind them again, but the bytes that were there are lost",
                store->settings.name, bytes_whole(missing).text);
        return store->settings.commit == COMMIT_EAGER
                       ? reserve_range(
                                 store->segment_fd, 0, pages * store->settings.page_bytes, NULL)
                       : reserve_map_mend(&store->reserved);
}

int store_mend_length(const struct store *store) {
        struct stat status;
        if (fstat(store->segment_fd, &status) != 0)
                return -errno;
        if ((uint64_t)status.st_size == store->settings.max_size_bytes)
                return 0;
        return length_mend(store, (uint64_t)status.st_size);
}

void store_mend_segment(struct store *store, uint64_t pages) {
        int error = store_mend_length(store);
        uint64_t missing = missing_bytes(store, pages);
        if (!error && missing > 0)
                error = holes_mend(store, pages, missing);
        if (error && error != -ECANCELED)
                ration_event(LOG_EVENT_SEGMENT_CHANGED,
                        &(struct log_subject){.pool = store->settings.name},
                        "pool '%s': its segment cannot be made whole: %s; clients may fault "
                        "there until it can be",
                        store->settings.name, strerror(-error));
}
