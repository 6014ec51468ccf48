/* Walks a folder, depth first, names in byte order, without following symbolic links (but for the
 * folder's own name). */
#pragma once

#include <stdint.h>

enum walk_kind {
        WALK_FILE,       /* a regular file */
        WALK_LINK,       /* a symbolic link */
        WALK_SPECIAL,    /* fifo, socket, device */
        WALK_UNREADABLE, /* a folder or name that could not be looked at; error says why */
};

struct walk_entry {
        enum walk_kind kind;
        const char *path; /* valid during the visit */
        uint64_t bytes;   /* of a regular file, when it was looked at */
        int error;        /* errno of an unreadable one */
};

/* Calls visit for all but folders. 0, or -errno if the walk itself broke off. */
int walk_folder(const char *folder, void (*visit)(void *context, const struct walk_entry *entry),
        void *context);
