/* What differs between the backings of a store. Each function logs its own refusal and returns
 * -errno. */
#pragma once

#include "store.h"

struct store_kind {
        /* Keeps other daemons out and finds out what is there. Sets taken_over, with the ledger mapped and
         * checked against what is asked for, or leaves it false: then nothing that is there counts. */
        int (*claim)(struct store *store, bool reset);
        /* Makes empty objects of full length in the place of what is there. */
        int (*create)(struct store *store);
        /* Removes the names of what this daemon made or took over, but for those by which the next daemon finds
         * what is to be kept. */
        void (*remove)(struct store *store, bool keep);
};

extern const struct store_kind store_kind_shm;
extern const struct store_kind store_kind_memfd;

/* Maps the ledger of bytes length. -errno, not logged. */
int store_map_ledger(struct store *store, uint64_t bytes);
void store_unmap_ledger(struct store *store);

/* Closes the segment's descriptors, if they are open. */
void store_close_segment(struct store *store);

/* Layout of the ledger for the pool that is asked for. */
struct ledger_layout store_ledger_layout(const struct store *store);

/* Length of the object behind a descriptor. 0; -errno after a logged line: what is there must not be judged. */
int store_object_length(const struct store *store, int fd, uint64_t *length);

/* Looks whether the ledger behind ledger_fd is sound and of the pool that is asked for, and leaves it mapped. Not
 * finished: a daemon died while it made the pool; it is not mapped, and nothing that is there counts. */
int store_examine_ledger(struct store *store, bool *finished);

/* Looks whether the segment is as long as the ledger says. */
int store_check_segment(const struct store *store);

/* Puts it back where a client could change it, and says so: who holds what is in the ledger, and is not lost with bytes. -errno. */
int store_mend_length(const struct store *store);

/* Logs that a step failed, with the mend for this error; returns it. */
int store_refuse(const struct store *store, const char *step, int error);

/* Logs that another daemon has the file behind fd locked; returns -EBUSY. */
int store_refuse_busy(const struct store *store, int fd);
