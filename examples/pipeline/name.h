/* File names as sha256sum writes them: backslash, newline and carriage return become \\, \n and \r, and a line
 * with such a name begins with a backslash. All other bytes stay as they are. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

bool name_needs_escape(const char *name);
void name_put(FILE *out, const char *name);
