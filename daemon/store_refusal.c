/* How the refusal of a store reads: the step, the cause, and what mends it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lock.h"
#include "log.h"
#include "shm_object.h"
#include "store_kind.h"

#define MEND_BYTES 320

struct mend {
        int error;
        const char *text;
};

static const char memory_mend[] =
        "give a smaller --size, or make more memory or a larger /dev/shm available";
static const char eager_mend[] = "give a smaller --size, make more memory or a larger /dev/shm "
                                 "available, or use --commit lazy";
static const char files_mend[] = "raise the limit on open files (ulimit -n)";

static const struct mend mends[] = {
        {-EFBIG, "raise the limit on file sizes (ulimit -f), or give a smaller --size"},
        {-EMFILE, files_mend},
        {-ENFILE, files_mend},
        {-EROFS, "/dev/shm is mounted read-only: mount it for writing (mount -o remount,rw "
                 "/dev/shm)"},
        {-EDQUOT, "this user's quota in /dev/shm is used up: raise it, or give a smaller --size"},
        {-EPERM, "it is another user's or open to others: have it removed, or give another --pool"},
};

static const char other_mend[] =
        "see that /dev/shm is a tmpfs with mode 1777 and /proc is mounted, and start again";

/* Who owns what is in the way: the pool's first object that is not this user's alone. */
static bool mend_foreign(const struct store *store, char text[static MEND_BYTES]) {
        static const char *const kinds[] = {"ledger", "segment", "lock"};
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
                char name[SHM_NAME_BYTES], path[SHM_NAME_BYTES + 16];
                shm_object_name(store->settings.name, kinds[i], name);
                snprintf(path, sizeof(path), "/dev/shm%s", name);
                struct stat stat;
                if (lstat(path, &stat) < 0)
                        continue;
                if (stat.st_uid != geteuid()) {
                        snprintf(text, MEND_BYTES,
                                "%s is another user's, uid %u's: have them or root remove it, or "
                                "give another --pool",
                                path, stat.st_uid);
                        return true;
                }
                if (!S_ISREG(stat.st_mode)) {
                        snprintf(text, MEND_BYTES,
                                "%s is no regular file: remove it, or give another --pool", path);
                        return true;
                }
                if (stat.st_mode & 077) {
                        snprintf(text, MEND_BYTES,
                                "%s is open to others (mode %04o): chmod 600 it if what is in it "
                                "can be trusted, else remove it",
                                path, stat.st_mode & 07777);
                        return true;
                }
        }
        return false;
}

static void mend_access(char text[static MEND_BYTES]) {
        struct stat stat;
        if (lstat("/dev/shm", &stat) < 0)
                stat = (struct stat){0};
        snprintf(text, MEND_BYTES,
                "/dev/shm is uid %u's with mode %04o and must let uid %u make files: chmod 1777 "
                "/dev/shm",
                stat.st_uid, stat.st_mode & 07777, geteuid());
}

static const char *mend_find(const struct store *store, int error) {
        if (error == -ENOSPC || error == -ENOMEM)
                return store->settings.commit == COMMIT_EAGER ? eager_mend : memory_mend;
        for (size_t i = 0; i < sizeof(mends) / sizeof(mends[0]); i++)
                if (mends[i].error == error)
                        return mends[i].text;
        return other_mend;
}

int store_refuse(const struct store *store, const char *step, int error) {
        char text[MEND_BYTES];
        const char *mend = text;
        if (error == -EACCES)
                mend_access(text);
        else if (error != -EPERM || !mend_foreign(store, text))
                mend = mend_find(store, error);
        log_pool_error(store->settings.name, "pool '%s': cannot %s: %s; %s", store->settings.name,
                step, strerror(-error), mend);
        return error;
}

int store_refuse_busy(const struct store *store, int fd) {
        char holder[LOCK_HOLDER_TEXT];
        log_pool_error(store->settings.name,
                "pool '%s' is served by %s; stop that one, or give another --pool",
                store->settings.name, lock_describe_holder(fd, holder));
        return -EBUSY;
}
