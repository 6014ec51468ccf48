/* Escaping of file names. */
#include "name.h"

#include <string.h>

bool name_needs_escape(const char *name) {
        return strpbrk(name, "\\\n\r");
}

void name_put(FILE *out, const char *name) {
        for (; *name; name++) {
                if (*name == '\\')
                        fputs("\\\\", out);
                else if (*name == '\n')
                        fputs("\\n", out);
                else if (*name == '\r')
                        fputs("\\r", out);
                else
                        putc(*name, out);
        }
}
