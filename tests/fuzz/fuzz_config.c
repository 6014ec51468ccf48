/* A config file, through all of what a start does with it: it is taken and what comes of it can be served, or it is refused
 * with one line. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/settings.h"
#include "fuzz.h"

static int memory_file(const char *name) {
        int fd = memfd_create(name, MFD_CLOEXEC);
        fuzz_require(fd >= 0);
        return fd;
}

/* What is written on the standard error meanwhile goes to this file. */
static enum settings_outcome load(const char *path, int log_fd, struct settings *settings) {
        char *arguments[] = {(char[]){"buddyd"}, (char[]){"--config"}, (char *)path, NULL};
        int kept = dup(STDERR_FILENO);
        fuzz_require(kept >= 0 && dup2(log_fd, STDERR_FILENO) == STDERR_FILENO);
        enum settings_outcome outcome = settings_load(3, arguments, settings);
        fuzz_require(dup2(kept, STDERR_FILENO) == STDERR_FILENO);
        close(kept);
        return outcome;
}

static size_t count_lines(int fd) {
        static char text[1 << 16];
        ssize_t length = pread(fd, text, sizeof(text), 0);
        size_t lines = 0;
        fuzz_require(length >= 0 && length < (ssize_t)sizeof(text));
        for (ssize_t i = 0; i < length; i++)
                lines += text[i] == '\n';
        fuzz_require(length == 0 || text[length - 1] == '\n');
        return lines;
}

static void expect_servable(const struct settings *settings) {
        fuzz_require(settings->pool_count > 0 && settings->workers > 0 && settings->socket_path);
        for (size_t i = 0; i < settings->pool_count; i++) {
                const struct pool_settings *pool = &settings->pools[i];
                fuzz_require(pool->page_bytes >= 4096);
                fuzz_require((pool->page_bytes & (pool->page_bytes - 1)) == 0);
                fuzz_require(pool->size_bytes > 0 && pool->size_bytes % pool->page_bytes == 0);
                fuzz_require(pool->max_size_bytes >= pool->size_bytes);
                fuzz_require(pool->max_size_bytes % pool->page_bytes == 0);
                fuzz_require(pool->name[0] && strlen(pool->name) <= POOL_NAME_MAX);
                for (size_t other = 0; other < i; other++)
                        fuzz_require(strcmp(settings->pools[other].name, pool->name) != 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
        char path[64];
        struct settings settings;
        int file = memory_file("config"), log = memory_file("log");
        fuzz_require(write(file, bytes, length) == (ssize_t)length);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
        if (length < 2) /* files that cannot be opened, or read */
                strcpy(path, length == 0 ? "/nowhere/at/all" : "/proc/self/fd");
        setenv("BUDDYD_SOCKET", "/tmp/fuzz.sock", 1);
        enum settings_outcome outcome = load(path, log, &settings);
        size_t lines = count_lines(log);
        if (outcome == SETTINGS_RUN) {
                fuzz_require(lines == 0);
                expect_servable(&settings);
                settings_deinit(&settings);
        } else {
                fuzz_require(outcome == SETTINGS_EXIT_USAGE && lines == 1);
        }
        close(file);
        close(log);
        return 0;
}
