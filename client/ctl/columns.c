/* See columns.h. */
#include "columns.h"

#include <string.h>
#include <strings.h>

#include "complain.h"

#define NAMES_BYTES 512

/* "id, name, pid", all of them. */
static const char *names_of(
        const struct table_column *columns, unsigned count, char text[NAMES_BYTES]) {
        size_t used = 0;
        for (unsigned i = 0; i < count; i++) {
                if (i > 0 && used + 2 < NAMES_BYTES) {
                        memcpy(text + used, ", ", 2);
                        used += 2;
                }
                for (const char *at = columns[i].heading; *at != '\0' && used + 1 < NAMES_BYTES;
                        at++)
                        text[used++] = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
        }
        text[used] = '\0';
        return text;
}

static unsigned column_find(
        const struct table_column *columns, unsigned count, const char *name, size_t length) {
        for (unsigned i = 0; i < count; i++)
                if (strlen(columns[i].heading) == length &&
                        strncasecmp(columns[i].heading, name, length) == 0)
                        return i;
        return count;
}

static enum exit_status columns_read(
        const char *list, const struct table_column *columns, unsigned count, struct columns *out) {
        char names[NAMES_BYTES];
        out->count = 0;
        out->listed = true;
        for (const char *at = list;; at++) {
                size_t length = strcspn(at, ",");
                unsigned found = column_find(columns, count, at, length);
                if (found == count)
                        return complain(EXIT_USAGE,
                                "--columns: no column \"%.*s\"; give some of %s", (int)length, at,
                                names_of(columns, count, names));
                if (out->count == COLUMNS_MAX)
                        return complain(
                                EXIT_USAGE, "--columns: over %u columns; give fewer", COLUMNS_MAX);
                out->chosen[out->count++] = found;
                at += length;
                if (*at == '\0')
                        return EXIT_DONE;
        }
}

enum exit_status columns_choose(const struct invocation *invocation,
        const struct table_column *columns, unsigned count, struct columns *out) {
        const char *list = invocation->values[OPTION_COLUMNS];
        struct columns chosen = {
                .count = count, .raw_bytes = invocation_has(invocation, OPTION_BYTES)};
        for (unsigned i = 0; i < count; i++)
                chosen.chosen[i] = i;
        if (invocation_has(invocation, OPTION_JSON) && (list || chosen.raw_bytes))
                return complain(EXIT_USAGE, "%s: --json has every figure, in bytes; leave --%s out",
                        invocation->command->name, list ? "columns" : "bytes");
        enum exit_status status = list ? columns_read(list, columns, count, &chosen) : EXIT_DONE;
        if (status == EXIT_DONE)
                *out = chosen;
        return status;
}
