/* A terminal of a test's own, in which buddyctl runs, and what is to be seen on it. Understands the sequences of TERM=linux, as far as
 * ncurses uses them. Call from the test's main thread only. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

#include "harness.h"

#define SCREEN_ROWS    60
#define SCREEN_COLUMNS 200

struct screen {
        int master, slave;
        pid_t child;
        int rows, columns;
        int row, column; /* of the cursor */
        char cells[SCREEN_ROWS]
                  [SCREEN_COLUMNS + 1]; /* each row ends with a NUL behind its columns */
        char sequence[64];              /* that has not ended yet */
        unsigned sequence_bytes;
        bool cursor_hidden, coloured; /* coloured: a colour was asked for */
        struct termios before;        /* of the terminal, as it was found */
};

/* buddyctl with these arguments (NULL at the end) on the scene's socket and pool. */
void screen_open(struct screen *screen, const struct scene *scene, int rows, int columns,
        const char *const *arguments);

/* Draws what comes until text is, or is not, somewhere on the screen; fails after PATIENCE_MS. */
void screen_await(struct screen *screen, const char *text);
void screen_await_not(struct screen *screen, const char *text);

/* The first row that has text; NULL: none has. */
const char *screen_find(const struct screen *screen, const char *text);

void screen_type(struct screen *screen, const char *keys);
void screen_resize(struct screen *screen, int rows, int columns);

/* Waits for the end of the program: its exit status, or -signal. Expects the terminal to be as it was before, with its cursor. */
int screen_close(struct screen *screen);
