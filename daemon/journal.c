/* See journal.h. No state: fields are built on the caller's stack. */
#include "journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Where in the source a line was written is of no use to an operator. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define SOCKET_PATH "/run/systemd/journal/socket"
#define FIELDS_MAX  10
#define TEXT_BYTES  3072

/* $JOURNAL_STREAM names device and inode of the journal's stream; stderr may have been redirected
 * since it was set. */
bool journal_is_stderr(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        if (!stream)
                return false;
        unsigned long long device, inode;
        struct stat stat;
        return sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
               fstat(STDERR_FILENO, &stat) == 0 && stat.st_dev == device && stat.st_ino == inode;
}

struct fields {
        struct iovec fields[FIELDS_MAX];
        int count;
        size_t used;
        char text[TEXT_BYTES];
};

/* A field that has no room is left out; the message comes first and is cut by who makes it. */
__attribute__((format(printf, 2, 3))) static void field_add(
        struct fields *fields, const char *format, ...) {
        char *text = fields->text + fields->used;
        size_t room = sizeof(fields->text) - fields->used;
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(text, room, format, arguments);
        va_end(arguments);
        if (length < 0 || (size_t)length >= room || fields->count == FIELDS_MAX)
                return;
        fields->fields[fields->count++] = (struct iovec){text, (size_t)length};
        fields->used += (size_t)length;
}

static void fields_of_subject(struct fields *fields, const struct log_subject *about) {
        if (about->pool)
                field_add(fields, "BUDDYD_POOL=%s", about->pool);
        if (about->client)
                field_add(fields, "BUDDYD_CLIENT=%" PRIu32, about->client);
        if (about->client_name)
                field_add(fields, "BUDDYD_CLIENT_NAME=%s", about->client_name);
        if (about->has_process) {
                field_add(fields, "BUDDYD_PID=%" PRIu32, about->pid);
                field_add(fields, "BUDDYD_UID=%" PRIu32, about->uid);
        }
        if (about->has_holdings) {
                field_add(fields, "BUDDYD_RANGES=%" PRIu64, about->ranges);
                field_add(fields, "BUDDYD_BYTES=%" PRIu64, about->bytes);
        }
}

int journal_send(const struct journal_entry *entry) {
        /* The library takes a journal that is not there for one that has got the line. */
        if (access(SOCKET_PATH, W_OK) < 0)
                return -errno;
        struct fields fields;
        fields.count = 0;
        fields.used = 0;
        field_add(&fields, "MESSAGE=%s", entry->message);
        field_add(&fields, "PRIORITY=%d", entry->priority);
        if (entry->id)
                field_add(&fields, "MESSAGE_ID=%s", entry->id);
        if (entry->about)
                fields_of_subject(&fields, entry->about);
        return sd_journal_sendv(fields.fields, fields.count);
}
