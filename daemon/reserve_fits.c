/* Does a pool fit? Asked before anything is reserved, because memory that tmpfs grants and the system
 * does not have ends in the out-of-memory killer and not in an error. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "bytes.h"
#include "core/ledger.h"
#include "log.h"
#include "reserve.h"

#define CGROUP_ROOT       "/sys/fs/cgroup"
#define CGROUP_PATH_BYTES 4096

/* The figure behind a key in a file of "key figure" lines, or missing. */
static uint64_t figure_of(const char *path, const char *key, uint64_t missing) {
        FILE *file = fopen(path, "re");
        if (!file)
                return missing;
        char line[256], name[64];
        uint64_t figure = missing, value;
        while (fgets(line, sizeof(line), file)) {
                if (sscanf(line, "%63s %" SCNu64, name, &value) == 2 && strcmp(name, key) == 0) {
                        figure = value;
                        break;
                }
        }
        fclose(file);
        return figure;
}

/* The one figure in a file; "max" or no such file: UINT64_MAX. */
static uint64_t figure_in(const char *path) {
        FILE *file = fopen(path, "re");
        if (!file)
                return UINT64_MAX;
        uint64_t value;
        if (fscanf(file, "%" SCNu64, &value) != 1)
                value = UINT64_MAX;
        fclose(file);
        return value;
}

static uint64_t system_available_bytes(void) {
        uint64_t available = figure_of("/proc/meminfo", "MemAvailable:", UINT64_MAX / 1024);
        uint64_t swap = figure_of("/proc/meminfo", "SwapFree:", 0);
        return available > UINT64_MAX / 1024 - swap ? UINT64_MAX : (available + swap) * 1024;
}

/* What one level of the hierarchy leaves; file pages that it would drop first count as free. */
static uint64_t cgroup_level_available_bytes(const char *folder) {
        char path[CGROUP_PATH_BYTES + 32];
        snprintf(path, sizeof(path), "%s/memory.max", folder);
        uint64_t limit = figure_in(path);
        snprintf(path, sizeof(path), "%s/memory.current", folder);
        uint64_t used = figure_in(path);
        if (limit == UINT64_MAX || used == UINT64_MAX)
                return UINT64_MAX;
        snprintf(path, sizeof(path), "%s/memory.stat", folder);
        uint64_t droppable = figure_of(path, "inactive_file", 0);
        used -= droppable < used ? droppable : used;
        return used < limit ? limit - used : 0;
}

/* The smallest of all levels from this process's control group (version 2) to the root. */
static uint64_t cgroup_available_bytes(void) {
        FILE *file = fopen("/proc/self/cgroup", "re");
        if (!file)
                return UINT64_MAX;
        char line[CGROUP_PATH_BYTES], folder[CGROUP_PATH_BYTES + sizeof(CGROUP_ROOT)];
        folder[0] = '\0';
        while (fgets(line, sizeof(line), file)) {
                if (strncmp(line, "0::", 3) == 0) {
                        line[strcspn(line, "\n")] = '\0';
                        snprintf(folder, sizeof(folder), CGROUP_ROOT "%s", line + 3);
                }
        }
        fclose(file);
        uint64_t least = UINT64_MAX;
        while (strlen(folder) >= strlen(CGROUP_ROOT)) {
                uint64_t available = cgroup_level_available_bytes(folder);
                if (available < least)
                        least = available;
                *strrchr(folder, '/') = '\0';
        }
        return least;
}

static struct ledger_layout ledger_layout_of(uint64_t size_bytes, uint64_t page_bytes) {
        struct ledger_layout layout;
        ledger_layout(size_bytes / page_bytes, &layout);
        return layout;
}

/* What a pool consists of, in words; lazily, the pages and their part of the ledger come later. */
static void parts_write(const struct pool_settings *pool, char *text, size_t text_bytes) {
        struct ledger_layout layout = ledger_layout_of(pool->max_size_bytes, pool->page_bytes);
        if (pool->commit == COMMIT_EAGER)
                snprintf(text, text_bytes, "%s of pages and %s of ledger",
                        bytes_rounded(pool->size_bytes).text,
                        bytes_rounded(layout.total_bytes).text);
        else
                snprintf(text, text_bytes, "%s of ledger", bytes_rounded(layout.fixed_bytes).text);
}

/* Only mends that can help: even the smallest pool has a ledger, and a lazy one, too. */
static bool fits_into(const struct pool_settings *pool, uint64_t need_bytes,
        uint64_t available_bytes, const char *place, const char *mend) {
        if (need_bytes <= available_bytes)
                return true;
        char parts[96];
        parts_write(pool, parts, sizeof(parts));
        uint64_t smallest = ledger_layout_of(pool->page_bytes, pool->page_bytes).total_bytes;
        bool smaller_helps = smallest + pool->page_bytes <= available_bytes;
        bool lazy_helps = pool->commit == COMMIT_EAGER &&
                          ledger_layout_of(pool->max_size_bytes, pool->page_bytes).fixed_bytes <=
                                  available_bytes;
        log_pool_error(pool->name, "pool '%s' (%s) needs %s more, and %s has %s; %s%s%s",
                pool->name, parts, bytes_rounded(need_bytes).text, place,
                bytes_rounded(available_bytes).text, mend,
                smaller_helps ? ", or give a smaller --size" : "",
                lazy_helps ? ", or use --commit lazy" : "");
        return false;
}

/* One place that need_bytes have to fit into. */
struct room {
        const char *place, *mend;
        uint64_t available_bytes;
};

/* The first that is too small, or the last. */
static struct room room_find(uint64_t need_bytes, int fd) {
        struct statvfs files;
        struct room room = {"/dev/shm", "make /dev/shm larger", UINT64_MAX};
        if (fd >= 0 && fstatvfs(fd, &files) == 0 && files.f_blocks > 0)
                room.available_bytes = (uint64_t)files.f_bavail * files.f_frsize;
        if (need_bytes > room.available_bytes)
                return room;
        room = (struct room){"the system's free memory", "add memory", system_available_bytes()};
        if (need_bytes > room.available_bytes)
                return room;
        return (struct room){
                "this control group's memory limit", "raise the limit", cgroup_available_bytes()};
}

bool reserve_fits_growth(const struct pool_settings *pool, uint64_t need_bytes, int fd,
        char fault[static RESERVE_FAULT_BYTES]) {
        struct room room = room_find(need_bytes, fd);
        if (need_bytes <= room.available_bytes)
                return true;
        snprintf(fault, RESERVE_FAULT_BYTES,
                "pool '%s' needs %s more to grow so far, and %s has %s; %s, or ask for less",
                pool->name, bytes_rounded(need_bytes).text, room.place,
                bytes_rounded(room.available_bytes).text, room.mend);
        return false;
}

bool reserve_fits(const struct pool_settings *pool, uint64_t need_bytes, int fd) {
        struct room room = room_find(need_bytes, fd);
        return fits_into(pool, need_bytes, room.available_bytes, room.place, room.mend);
}
