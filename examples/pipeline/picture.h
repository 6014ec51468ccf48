/* What is shown while it runs: how far the run is, and the pool's address space as a row of cells, each
 * shaded by the share of it that this run holds. On a terminal two lines that are drawn over and over, else a
 * line of text every few seconds. Not synchronised: the owner's lock guards it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <buddyclient.h>

#include "report.h"

#define PICTURE_UNITS 4096

struct picture {
        uint64_t pool_bytes;
        uint64_t unit_bytes; /* the address space is divided into units of so many bytes */
        uint64_t units[PICTURE_UNITS]; /* bytes held in each */
        uint64_t begun_us, shown_us;   /* monotonic clock */
        uint64_t total_bytes;          /* of all files, as far as known */
        bool terminal;
        bool utf8;
        bool drawn; /* the cursor is below a picture of ours */
};

void picture_init(struct picture *picture, uint64_t pool_bytes);

/* A range of the pool is held, or not any more. */
void picture_mark(struct picture *picture, const struct buddyclient_range *range, bool held);

/* Milliseconds between two pictures. */
int picture_interval_ms(const struct picture *picture);

/* Shows it, if it is time. */
void picture_show(struct picture *picture, uint64_t done_bytes, uint64_t held_bytes);

/* Takes the picture off the terminal, for other lines or for good. */
void picture_clear(struct picture *picture);
