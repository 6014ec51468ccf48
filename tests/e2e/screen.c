/* See screen.h. */
#include "screen.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

static void screen_clear(struct screen *screen, int from_row, int from_column) {
        for (int row = from_row; row < screen->rows; row++) {
                int column = row == from_row ? from_column : 0;
                memset(screen->cells[row] + column, ' ', (size_t)(screen->columns - column));
                screen->cells[row][screen->columns] = '\0';
        }
}

static void screen_size(struct screen *screen, int rows, int columns) {
        screen->rows = rows;
        screen->columns = columns;
        screen->row = screen->column = 0;
        screen_clear(screen, 0, 0);
}

/* ---- Drawing ---- */

static int bounded(int value, int end) {
        return value < 0 ? 0 : value >= end ? end - 1 : value;
}

static void cursor_move(struct screen *screen, int row, int column) {
        screen->row = bounded(row, screen->rows);
        screen->column = bounded(column, screen->columns);
}

/* Moves the rest of the row to the right, or left for by below 0. */
static void row_shift(struct screen *screen, int by) {
        char *at = screen->cells[screen->row] + screen->column;
        int room = screen->columns - screen->column, count = abs(by) < room ? abs(by) : room;
        if (by > 0) {
                memmove(at + count, at, (size_t)(room - count));
                memset(at, ' ', (size_t)count);
        } else {
                memmove(at, at + count, (size_t)(room - count));
                memset(at + room - count, ' ', (size_t)count);
        }
}

static void row_erase(struct screen *screen, int from, int to) {
        memset(screen->cells[screen->row] + from, ' ', (size_t)(to - from));
}

static void colours_note(struct screen *screen, const char *parameters) {
        for (const char *at = parameters; *at != '\0';
                at += strcspn(at, ";") + (strchr(at, ';') != NULL)) {
                int value = atoi(at);
                if ((value >= 30 && value <= 38) || (value >= 40 && value <= 48))
                        screen->coloured = true;
        }
}

static void sequence_run(struct screen *screen, const char *parameters, char final) {
        int first = atoi(parameters), count = first > 0 ? first : 1;
        const char *second_text = strchr(parameters, ';');
        int second = second_text ? atoi(second_text + 1) : 1;
        switch (final) {
        case 'H':
                cursor_move(screen, count - 1, (second > 0 ? second : 1) - 1);
                break;
        case 'A':
                cursor_move(screen, screen->row - count, screen->column);
                break;
        case 'B':
                cursor_move(screen, screen->row + count, screen->column);
                break;
        case 'C':
                cursor_move(screen, screen->row, screen->column + count);
                break;
        case 'D':
                cursor_move(screen, screen->row, screen->column - count);
                break;
        case 'G':
                cursor_move(screen, screen->row, count - 1);
                break;
        case 'd':
                cursor_move(screen, count - 1, screen->column);
                break;
        case 'J':
                screen_clear(screen, screen->row, screen->column);
                break;
        case 'K':
                row_erase(screen, first == 1 ? 0 : screen->column,
                        first == 1 ? screen->column + 1 : screen->columns);
                break;
        case 'X':
                row_erase(screen, screen->column,
                        bounded(screen->column + count, screen->columns + 1));
                break;
        case '@':
                row_shift(screen, count);
                break;
        case 'P':
                row_shift(screen, -count);
                break;
        case 'm':
                colours_note(screen, parameters);
                break;
        case 'h':
        case 'l':
                if (strcmp(parameters, "?25") == 0)
                        screen->cursor_hidden = final == 'l';
                break;
        case 'r':
        case 'c':
                break;
        default:
                cr_assert(false, "a sequence that this terminal does not know: \"%s%c\"",
                        parameters, final);
        }
}

/* Takes one byte of a sequence that begins with ESC. */
static void sequence_take(struct screen *screen, char byte) {
        cr_assert_lt(screen->sequence_bytes, sizeof screen->sequence - 1);
        screen->sequence[screen->sequence_bytes++] = byte;
        screen->sequence[screen->sequence_bytes] = '\0';
        if (screen->sequence_bytes == 2 && byte != '[' && byte != '(' && byte != ')' && byte != ']')
                screen->sequence_bytes = 0;
        else if (screen->sequence_bytes == 3 && screen->sequence[1] != '[')
                screen->sequence_bytes = 0;
        else if (screen->sequence_bytes > 2 && byte >= '@' && byte <= '~') {
                screen->sequence[screen->sequence_bytes - 1] = '\0';
                screen->sequence_bytes = 0;
                sequence_run(screen, screen->sequence + 2, byte);
        }
}

static void byte_take(struct screen *screen, char byte) {
        if (screen->sequence_bytes > 0 || byte == '\033') {
                sequence_take(screen, byte);
        } else if (byte == '\r') {
                screen->column = 0;
        } else if (byte == '\n') {
                cursor_move(screen, screen->row + 1, screen->column);
        } else if (byte == '\b') {
                cursor_move(screen, screen->row, screen->column - 1);
        } else if (byte == '\t') {
                cursor_move(screen, screen->row, (screen->column / 8 + 1) * 8);
        } else if ((unsigned char)byte >= 0x20) {
                if (screen->column < screen->columns)
                        screen->cells[screen->row][screen->column++] = byte;
        }
}

/* False: the program has closed the terminal, or nothing came within timeout_ms. */
static bool screen_read(struct screen *screen, int timeout_ms) {
        struct pollfd input = {.fd = screen->master, .events = POLLIN};
        char bytes[4096];
        if (poll(&input, 1, timeout_ms) <= 0)
                return false;
        ssize_t got = read(screen->master, bytes, sizeof bytes);
        for (ssize_t i = 0; i < got; i++)
                byte_take(screen, bytes[i]);
        return got > 0;
}

/* ---- For tests ---- */

void screen_open(struct screen *screen, const struct scene *scene, int rows, int columns,
        const char *const *arguments) {
        struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
        memset(screen, 0, sizeof *screen);
        screen_size(screen, rows, columns);
        cr_assert_eq(openpty(&screen->master, &screen->slave, NULL, NULL, &size), 0);
        fcntl(screen->master, F_SETFD, FD_CLOEXEC);
        cr_assert_eq(tcgetattr(screen->slave, &screen->before), 0);
        screen->child = process_fork();
        if (screen->child == 0) {
                const char *words[ARGUMENTS_MAX] = {
                        program_buddyctl(), "--socket", scene->socket, "--pool", scene->pool};
                for (size_t i = 0; arguments[i]; i++)
                        words[5 + i] = arguments[i];
                if (login_tty(screen->slave) != 0)
                        _exit(126);
                setenv("TERM", "linux", 1);
                setenv("LC_ALL", "C", 1);
                process_environment(scene);
                process_become(scene);
                execv(words[0], (char *const *)(uintptr_t)words);
                _exit(127);
        }
}

const char *screen_find(const struct screen *screen, const char *text) {
        for (int row = 0; row < screen->rows; row++)
                if (strstr(screen->cells[row], text))
                        return screen->cells[row];
        return NULL;
}

static void screen_show(const struct screen *screen) {
        for (int row = 0; row < screen->rows; row++)
                fprintf(stderr, "|%s|\n", screen->cells[row]);
}

static void screen_wait(struct screen *screen, const char *text, bool there) {
        uint64_t end = now_ms() + PATIENCE_MS;
        while ((screen_find(screen, text) != NULL) != there) {
                if (now_ms() >= end) {
                        screen_show(screen);
                        cr_assert(
                                false, "\"%s\" is %s on the screen", text, there ? "not" : "still");
                        return;
                }
                screen_read(screen, 100);
        }
}

void screen_await(struct screen *screen, const char *text) {
        screen_wait(screen, text, true);
}

void screen_await_not(struct screen *screen, const char *text) {
        screen_wait(screen, text, false);
}

void screen_type(struct screen *screen, const char *keys) {
        cr_assert_eq(write(screen->master, keys, strlen(keys)), (ssize_t)strlen(keys));
}

void screen_resize(struct screen *screen, int rows, int columns) {
        struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
        while (screen_read(screen, 0))
                continue;
        screen_size(screen, rows, columns);
        cr_assert_eq(ioctl(screen->master, TIOCSWINSZ, &size), 0);
}

int screen_close(struct screen *screen) {
        struct termios after;
        int status;
        for (uint64_t end = now_ms() + PATIENCE_MS; kill(screen->child, 0) == 0;
                screen_read(screen, 20)) {
                siginfo_t info = {.si_pid = 0};
                cr_assert_lt(now_ms(), end, "the program does not end");
                if (waitid(P_PID, (id_t)screen->child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
                        info.si_pid != 0)
                        break;
        }
        while (screen_read(screen, 0))
                continue;
        status = process_wait(screen->child);
        cr_assert_eq(tcgetattr(screen->slave, &after), 0);
        cr_expect_eq(after.c_lflag, screen->before.c_lflag, "the terminal is as it was");
        cr_expect_eq(after.c_iflag, screen->before.c_iflag);
        cr_expect_eq(after.c_oflag, screen->before.c_oflag);
        cr_expect_not(screen->cursor_hidden, "the cursor is back");
        close(screen->master);
        close(screen->slave);
        return status;
}
