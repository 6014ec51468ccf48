/* See metrics_pages.h. */
#include "metrics_pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int text_append(struct metrics_text *text, const char *page) {
        size_t length = strlen(page);
        char *bytes = realloc(text->bytes, text->length + length + 1);
        if (!bytes)
                return -ENOMEM;
        memcpy(bytes + text->length, page, length + 1);
        text->bytes = bytes;
        text->length += length;
        return 0;
}

/* One page. *cursor: which, and then the next one, or 0. */
static int page_fetch(struct observer *observer, enum metrics_format format,
        struct metrics_text *text, uint64_t *cursor) {
        struct request request = {
                .kind = REQUEST_METRICS, .metrics = {.cursor = *cursor, .format = format}};
        struct reply reply;
        int error = observer_call(observer, &request, &reply);
        if (error != 0)
                return error;
        if (reply.kind == REPLY_REFUSED)
                return (int)reply.refused.status;
        if (reply.kind != REPLY_TEXT)
                return -EPROTO;
        error = text_append(text, reply.text.text);
        /* A cursor that does not move on would never end. */
        if (error == 0 && reply.text.next_cursor != 0 && reply.text.next_cursor != text->length)
                error = -EPROTO;
        *cursor = reply.text.next_cursor;
        return error;
}

int metrics_fetch(struct observer *observer, enum metrics_format format, struct metrics_text *out) {
        struct metrics_text text = {0};
        uint64_t cursor = 0;
        int result;
        do
                result = page_fetch(observer, format, &text, &cursor);
        while (result == 0 && cursor != 0);
        if (result != 0)
                free(text.bytes);
        else
                *out = text;
        return result;
}
