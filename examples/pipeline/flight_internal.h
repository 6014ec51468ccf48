/* What the two sides of the files in flight share between them; see flight.h. */
#pragma once

#include "flight.h"

/* Passes memory through; ends the process with a line if it is NULL. */
void *flight_memory(void *memory);

/* Closes the way to the slot's worker, with what was to go it. */
void flight_hang_up(struct slot *slot);

/* Moves the file to the end of a place's list. */
void flight_place_locked(
        struct flight *flight, struct file *file, enum file_place place, unsigned slot);

/* The first of the file's given pieces is nobody's any more. */
void flight_write_off_locked(struct flight *flight, struct file *file);

/* Gives back what the reader holds of the file, and forgets what it has given away. */
void flight_leave_pieces_locked(struct flight *flight, struct file *file);

/* The file is over: gives back what it holds and frees it. */
void flight_end_locked(struct flight *flight, struct file *file);
