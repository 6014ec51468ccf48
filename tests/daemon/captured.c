/* See captured.h. */
#include "captured.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int captured_fd, memory_fd, saved_fd;
static char text[65536];

void captured_begin(int fd) {
        fflush(NULL);
        captured_fd = fd;
        memory_fd = memfd_create("captured", MFD_CLOEXEC);
        saved_fd = dup(fd);
        assert(memory_fd >= 0 && saved_fd >= 0);
        dup2(memory_fd, fd);
}

const char *captured_end(void) {
        fflush(NULL);
        dup2(saved_fd, captured_fd);
        close(saved_fd);
        ssize_t length = pread(memory_fd, text, sizeof(text) - 1, 0);
        close(memory_fd);
        text[length > 0 ? length : 0] = '\0';
        return text;
}

bool is_one_line(const char *line) {
        const char *end = strchr(line, '\n');
        return end && end != line && end[1] == '\0';
}
