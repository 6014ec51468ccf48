/* Formats log lines and hands each to stderr in one write. Owns the level; no lock: lines are built
 * on the caller's stack. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES 2048

static _Atomic int log_level = LOG_INFO;

static const char *const level_names[] = {
        [LOG_EMERG] = "emergency",
        [LOG_ALERT] = "alert",
        [LOG_CRIT] = "critical",
        [LOG_ERR] = "error",
        [LOG_WARNING] = "warning",
        [LOG_NOTICE] = "notice",
        [LOG_INFO] = "info",
        [LOG_DEBUG] = "debug",
};

/* $JOURNAL_STREAM names device and inode of the journal's stream; stderr may have been redirected
 * since it was set. */
static bool log_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        if (!stream)
                return false;
        unsigned long long device, inode;
        struct stat stat;
        return sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &stat) == 0 && stat.st_dev == device && stat.st_ino == inode;
}

static size_t log_prefix(char *line, size_t line_bytes, int priority) {
        int length = log_is_journal()
                             ? snprintf(line, line_bytes, "<%d>", priority)
                             : snprintf(line, line_bytes, "buddyd: %s: ", level_names[priority]);
        return (size_t)length;
}

/* Names that come from outside must not break a line in two or drive a terminal. */
static void log_disarm(char *text) {
        for (; *text; text++) {
                if ((unsigned char)*text < 0x20 || *text == 0x7f)
                        *text = '?';
        }
}

static void log_write(const char *line, size_t length) {
        while (length > 0) {
                ssize_t written = write(STDERR_FILENO, line, length);
                if (written < 0 && errno == EINTR)
                        continue;
                if (written <= 0)
                        return;
                line += written;
                length -= (size_t)written;
        }
}

void log_set_level(int priority) {
        atomic_store_explicit(&log_level, priority, memory_order_relaxed);
}

void log_line(int priority, const char *format, ...) {
        if (priority > atomic_load_explicit(&log_level, memory_order_relaxed))
                return;
        int saved_errno = errno;
        char line[LINE_BYTES];
        size_t prefix = log_prefix(line, sizeof(line), priority);
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line + prefix, sizeof(line) - prefix - 1, format, arguments);
        va_end(arguments);
        log_disarm(line + prefix);
        size_t length = strlen(line);
        line[length] = '\n';
        log_write(line, length + 1);
        errno = saved_errno;
}
