/* What the two sides of the files in flight share between them; see flight.h. */
#pragma once

#include "flight.h"

/* Passes memory through; ends the process with a line if it is NULL. */
void *flight_memory(void *memory);

/* Moves the file to the end of a place's list. */
void flight_place_locked(
        struct flight *flight, struct file *file, enum file_place place, unsigned slot);

/* Gives back what a streamed file's worker does not need any more; gives back all. */
void flight_release_consumed_locked(struct flight *flight, struct file *file);
void flight_release_all_locked(struct flight *flight, struct file *file);

/* The file is over: gives back what it holds and frees it. */
void flight_end_locked(struct flight *flight, struct file *file);
