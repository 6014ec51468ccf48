/* See scratch.h. */
#include "scratch.h"

#include <assert.h>
#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHM_FOLDER "/dev/shm"

static char folder[64];
static char paths[8][256];
static unsigned path_next;

static char *path_slot(void) {
        return paths[path_next++ % 8];
}

const char *scratch_make(void) {
        snprintf(folder, sizeof(folder), "/tmp/buddyd-test-XXXXXX");
        const char *made = mkdtemp(folder);
        assert(made);
        return made;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *level) {
        (void)stat, (void)type, (void)level;
        return remove(path);
}

void scratch_remove(void) {
        nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *scratch_path(const char *name) {
        char *path = path_slot();
        snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
        return path;
}

const char *scratch_write(const char *name, const char *text) {
        const char *path = scratch_path(name);
        FILE *file = fopen(path, "w");
        assert(file);
        fputs(text, file);
        fclose(file);
        return path;
}

struct pool_settings scratch_pool(void) {
        struct pool_settings pool = {
                .size_bytes = UINT64_C(4) << 20,
                .max_size_bytes = UINT64_C(4) << 20,
                .page_bytes = 4096,
                .backing = BACKING_POSIX_SHM,
                .commit = COMMIT_EAGER,
        };
        snprintf(pool.name, sizeof(pool.name), "test-%d", (int)getpid());
        return pool;
}

const char *scratch_shm_path(const char *kind) {
        char *path = path_slot();
        struct pool_settings pool = scratch_pool();
        snprintf(path, sizeof(paths[0]), SHM_FOLDER "/buddyd.%u.%s.%s", (unsigned)geteuid(),
                pool.name, kind);
        return path;
}

static unsigned shm_walk(bool remove) {
        char prefix[96];
        struct pool_settings pool = scratch_pool();
        snprintf(prefix, sizeof(prefix), "buddyd.%u.%s.", (unsigned)geteuid(), pool.name);
        DIR *objects = opendir(SHM_FOLDER);
        assert(objects);
        unsigned count = 0;
        for (const struct dirent *entry; (entry = readdir(objects));) {
                if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
                        continue;
                count++;
                if (remove)
                        unlinkat(dirfd(objects), entry->d_name, 0);
        }
        closedir(objects);
        return count;
}

unsigned scratch_shm_count(void) {
        return shm_walk(false);
}

void scratch_shm_remove(void) {
        shm_walk(true);
}

unsigned scratch_open_files(void) {
        DIR *files = opendir("/proc/self/fd");
        assert(files);
        unsigned count = 0;
        while (readdir(files))
                count++;
        closedir(files);
        return count;
}
