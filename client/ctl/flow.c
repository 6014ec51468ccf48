/* See flow.h. */
#include "flow.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "printable.h"

/* Of the character at the start of text, with its bytes. */
static unsigned character_columns(const char *text, size_t *bytes) {
        mbstate_t state = {0};
        wchar_t character;
        size_t length = mbrtowc(&character, text, strlen(text), &state);
        if (length == (size_t)-1 || length == (size_t)-2 || length == 0) {
                *bytes = 1;
                return 1;
        }
        int columns = wcwidth(character);
        *bytes = length;
        return columns < 0 ? 1 : (unsigned)columns;
}

unsigned flow_columns(const char *text) {
        unsigned columns = 0;
        size_t bytes;
        for (; *text != '\0'; text += bytes)
                columns += character_columns(text, &bytes);
        return columns;
}

size_t flow_cut(const char *text, unsigned columns) {
        size_t at = 0, bytes;
        for (; text[at] != '\0'; at += bytes) {
                unsigned wide = character_columns(text + at, &bytes);
                if (wide > columns)
                        break;
                columns -= wide;
        }
        return at;
}

/* Bytes of text that go into so many columns: up to a blank if there is one, and at least one character. */
static size_t fitting_bytes(const char *text, unsigned room) {
        size_t at = 0, bytes, blank = 0;
        for (unsigned columns = 0; text[at] != '\0'; at += bytes) {
                columns += character_columns(text + at, &bytes);
                if (columns > room)
                        return blank > 0 ? blank : at > 0 ? at : bytes;
                if (text[at] == ' ')
                        blank = at;
        }
        return at;
}

/* On this line and, where it has no room, on the next ones. */
static void flow_text(struct flow *flow, const char *text) {
        for (;;) {
                unsigned room = flow->width > flow->column ? flow->width - flow->column : 1;
                size_t bytes = fitting_bytes(text, room);
                fwrite(text, 1, bytes, flow->out);
                if (text[bytes] == '\0')
                        break;
                fputc('\n', flow->out);
                flow->column = 0;
                text += text[bytes] == ' ' ? bytes + 1 : bytes;
        }
        flow->column += flow_columns(text);
}

void flow_phrase(struct flow *flow, enum terminal_style style, const char *mark, const char *text) {
        char *escaped = printable_text(text);
        if (!escaped)
                return;
        unsigned mark_columns = mark ? flow_columns(mark) + 1 : 0;
        unsigned columns = flow_columns(escaped) + mark_columns;
        if (flow->column > 0 && flow->column + 2 + columns > flow->width)
                flow_end(flow);
        if (flow->column > 0)
                flow->column += (unsigned)fprintf(flow->out, "  ");
        terminal_style(flow->out, style);
        if (mark) {
                fputs(mark, flow->out);
                terminal_style(flow->out, STYLE_PLAIN);
                fputc(' ', flow->out);
                flow->column += mark_columns;
        }
        flow_text(flow, escaped);
        if (!mark && style != STYLE_PLAIN)
                terminal_style(flow->out, STYLE_PLAIN);
        free(escaped);
}

void flow_end(struct flow *flow) {
        if (flow->column > 0)
                fputc('\n', flow->out);
        flow->column = 0;
}
