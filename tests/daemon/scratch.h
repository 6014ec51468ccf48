/* A test's own folder and names, and the looks at what it left behind. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/settings.h"

/* A new empty folder; scratch_remove() takes it away with the files in it. */
const char *scratch_make(void);
void scratch_remove(void);

/* FOLDER/name; lives until the eighth next call. */
const char *scratch_path(const char *name);

/* Writes a file in the folder and returns its path. */
const char *scratch_write(const char *name, const char *text);

/* A small eager pool with a name that only this process uses. */
struct pool_settings scratch_pool(void);

/* /dev/shm's file of this kind of the scratch pool; lives until the eighth next call. */
const char *scratch_shm_path(const char *kind);

/* Objects of the scratch pool in /dev/shm; 0 is what a test must leave. */
unsigned scratch_shm_count(void);

/* Removes all of them. */
void scratch_shm_remove(void);

/* Descriptors that this process has open. */
unsigned scratch_open_files(void);
