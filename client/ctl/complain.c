/* One line on stderr. */
#include "complain.h"

#include <stdarg.h>
#include <stdio.h>

#include "printable.h"

enum exit_status complain(enum exit_status status, const char *format, ...) {
        char line[1024];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(line, sizeof(line), format, arguments);
        va_end(arguments);
        fputs("buddyctl: ", stderr);
        printable_write(stderr, line);
        fputc('\n', stderr);
        return status;
}
