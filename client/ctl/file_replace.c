/* See file_replace.h. */
#include "file_replace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "complain.h"
#include "output.h"

static enum exit_status complain_file(const char *path, int error) {
        return complain(EXIT_REFUSED,
                "cannot write %s: %s; name a file in a folder that you may write to", path,
                strerror(error));
}

/* A file beside the target, with the rights that a new file has here. */
static FILE *beside_open(struct file_replace *file) {
        snprintf(file->beside, sizeof(file->beside), "%s.XXXXXX", file->target);
        int fd = mkstemp(file->beside);
        if (fd < 0) {
                file->beside[0] = '\0';
                return NULL;
        }
        mode_t mask = umask(0);
        umask(mask);
        FILE *out = fchmod(fd, 0666 & ~mask) == 0 ? fdopen(fd, "w") : NULL;
        if (!out) {
                int error = errno;
                close(fd);
                unlink(file->beside);
                errno = error;
        }
        return out;
}

enum exit_status file_replace_begin(struct file_replace *file, const char *path) {
        struct stat status;
        *file = (struct file_replace){.path = path, .out = stdout};
        if (strcmp(path, "-") == 0)
                return EXIT_DONE;
        bool exists = stat(path, &status) == 0;
        if (exists && !S_ISREG(status.st_mode)) {
                file->out = S_ISDIR(status.st_mode) ? NULL : fopen(path, "w");
                if (S_ISDIR(status.st_mode))
                        errno = EISDIR;
        } else if (strlen(path) >= sizeof(file->target)) {
                file->out = NULL;
                errno = ENAMETOOLONG;
        } else {
                /* A link stays, and what it leads to is replaced. */
                if (!exists || !realpath(path, file->target))
                        snprintf(file->target, sizeof(file->target), "%s", path);
                file->out = beside_open(file);
        }
        return file->out ? EXIT_DONE : complain_file(path, errno);
}

enum exit_status file_replace_end(struct file_replace *file, enum exit_status status) {
        if (file->out == stdout)
                return status == EXIT_DONE ? output_flush(NULL) : status;
        errno = 0;
        bool failed = fflush(file->out) != 0 || ferror(file->out);
        int error = failed ? errno : 0;
        if (fclose(file->out) != 0 && !failed) {
                failed = true;
                error = errno;
        }
        bool replaces = file->beside[0] != '\0';
        if (replaces && !failed && status == EXIT_DONE && rename(file->beside, file->target) != 0) {
                failed = true;
                error = errno;
        }
        if (replaces && (failed || status != EXIT_DONE))
                unlink(file->beside);
        if (status == EXIT_DONE && failed)
                return complain_file(file->path, error != 0 ? error : EIO);
        return status;
}
