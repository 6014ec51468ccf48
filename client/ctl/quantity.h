/* Numbers as people write and read them: bytes, seconds, counts. The same in every locale. No state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUANTITY_BYTES 32 /* enough for any text that is made here */

/* "4096", "0x1000", "64K", "1G": a number with an optional power-of-two suffix K, M, G or T in either
 * case. -EINVAL: not such a number; -ERANGE: over 64 bits. */
int quantity_parse_bytes(const char *text, uint64_t *bytes);

/* A client's id, decimal, at least 1. -EINVAL, -ERANGE. */
int quantity_parse_id(const char *text, uint32_t *id);

/* "0.5", "3": decimal seconds. -EINVAL: not such a number; -ERANGE: not from min to max. */
int quantity_parse_seconds(const char *text, double min, double max, double *seconds);

/* Each fills text and returns it. */
const char *quantity_bytes(char text[QUANTITY_BYTES], uint64_t bytes); /* "1.5 GiB" */
const char *quantity_amount(
        char text[QUANTITY_BYTES], uint64_t bytes, bool raw);          /* raw: the bare number */
const char *quantity_count(char text[QUANTITY_BYTES], uint64_t count); /* "1,234,567" */
const char *quantity_seconds(char text[QUANTITY_BYTES], uint64_t seconds); /* "2 h 05 min" */
const char *quantity_rate(char text[QUANTITY_BYTES], double per_second);   /* "1,234", "0.25" */
const char *quantity_milliseconds(char text[QUANTITY_BYTES], uint64_t ms); /* "250 ms", "2.5 s" */
const char *quantity_share(char text[QUANTITY_BYTES], uint64_t part, uint64_t whole); /* "12.5 %" */

/* "us", or with the Greek letter where the locale has it. */
const char *quantity_microsecond(void);
