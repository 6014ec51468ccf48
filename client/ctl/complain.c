/* One line on stderr. */
#include "complain.h"

#include <stdarg.h>
#include <stdio.h>

#include "printable.h"

static char *diverted; /* the view's; NULL: none has the terminal */
static size_t diverted_size;

void complain_divert(char *text, size_t size) {
        diverted = text;
        diverted_size = size;
}

enum exit_status complain(enum exit_status status, const char *format, ...) {
        char line[1024];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line, sizeof(line), format, arguments);
        va_end(arguments);
        if (diverted) {
                snprintf(diverted, diverted_size, "%s", line);
                return status;
        }
        fputs("buddyctl: ", stderr);
        printable_write(stderr, line);
        fputc('\n', stderr);
        return status;
}
