/* Makes lines and says where they go. Owns the level; no lock: lines are built on the caller's stack. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "journal.h"

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

static const struct {
        int priority;
        const char *id;
} events[] = {
#define LOG_EVENT_ROW(name, event_priority, message_id)                                            \
        [LOG_EVENT_##name] = {.priority = (event_priority), .id = (message_id)},
        LOG_EVENTS(LOG_EVENT_ROW)
#undef LOG_EVENT_ROW
};

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

static void log_to_stderr(const char *prefix, const char *text) {
        char line[LINE_BYTES + 64];
        int length = snprintf(line, sizeof(line), "%s%s\n", prefix, text);
        log_write(line, (size_t)length);
}

static void log_send(const struct journal_entry *entry) {
        char prefix[32];
        if (!journal_is_stderr())
                snprintf(prefix, sizeof(prefix), "buddyd: %s: ", level_names[entry->priority]);
        else if (journal_send(entry) < 0)
                snprintf(prefix, sizeof(prefix), "<%d>", entry->priority);
        else
                return;
        log_to_stderr(prefix, entry->message);
}

void log_set_level(int priority) {
        atomic_store_explicit(&log_level, priority, memory_order_relaxed);
}

__attribute__((format(printf, 2, 0))) static void log_format(
        struct journal_entry entry, const char *format, va_list arguments) {
        if (entry.priority > atomic_load_explicit(&log_level, memory_order_relaxed))
                return;
        int saved_errno = errno;
        char text[LINE_BYTES];
        vsnprintf(text, sizeof(text), format, arguments);
        log_disarm(text);
        entry.message = text;
        log_send(&entry);
        errno = saved_errno;
}

void log_event(enum log_event event, const struct log_subject *about, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        log_format(
                (struct journal_entry){
                        .priority = events[event].priority, .id = events[event].id, .about = about},
                format, arguments);
        va_end(arguments);
}

void log_line(int priority, const char *format, ...) {
        va_list arguments;
        va_start(arguments, format);
        log_format((struct journal_entry){.priority = priority}, format, arguments);
        va_end(arguments);
}
