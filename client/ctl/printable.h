/* Text from others made fit for a terminal: names and keys are chosen by clients, and must not be able to
 * move a cursor, hide a line or fake another one. No state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Decodes the character at the start of text (length > 0). Returns its bytes; 0: not valid UTF-8. */
size_t printable_decode(const char *text, size_t length, uint32_t *point);

/* Whether a character may reach a terminal as it is: no control (C0, C1, DEL), no line or paragraph
 * separator, nothing that turns the direction of writing. */
bool printable_is_plain(uint32_t point);

/* Whether output is read as UTF-8 here (the locale's, after setlocale). */
bool printable_utf8(void);

/* Writes text; what is not plain, and without UTF-8 whatever is not ASCII, as \xNN for each byte. */
void printable_write(FILE *out, const char *text);

/* The same as a string that the caller frees; NULL: out of memory. */
char *printable_text(const char *text);
