/* The walk, by fts(3). */
#include "walk.h"

#include <errno.h>
#include <fts.h>
#include <string.h>
#include <sys/stat.h>

static int by_name(const FTSENT **left, const FTSENT **right) {
        return strcmp((*left)->fts_name, (*right)->fts_name);
}

static void entry_visit(const FTSENT *found,
        void (*visit)(void *context, const struct walk_entry *entry), void *context) {
        struct walk_entry entry = {.path = found->fts_path};
        switch (found->fts_info) {
        case FTS_F:
                entry.kind = WALK_FILE;
                entry.bytes = (uint64_t)found->fts_statp->st_size;
                break;
        case FTS_SL:
        case FTS_SLNONE:
                entry.kind = WALK_LINK;
                break;
        case FTS_DEFAULT:
                entry.kind = WALK_SPECIAL;
                break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
                entry.kind = WALK_UNREADABLE;
                entry.error = found->fts_errno;
                break;
        default: /* folders, before and after */
                return;
        }
        visit(context, &entry);
}

int walk_folder(const char *folder, void (*visit)(void *context, const struct walk_entry *entry),
        void *context) {
        char *const roots[] = {(char *)folder, NULL};
        FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name);
        if (!walk)
                return -errno;
        const FTSENT *found;
        while (errno = 0, (found = fts_read(walk)))
                entry_visit(found, visit, context);
        int result = -errno;
        fts_close(walk);
        return result;
}
