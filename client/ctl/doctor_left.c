/* Pools in /dev/shm that no daemon has its lock on: what a daemon that was killed, or told to keep its pool, has left. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "quantity.h"

static const char folder[] = "/dev/shm/";

/* 1: a daemon has it; 0: none; -1: this user cannot know. */
static int is_served(const char *path) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -1;
        int error = fcntl(fd, F_OFD_GETLK, &lock);
        close(fd);
        return error != 0 ? -1 : lock.l_type != F_UNLCK;
}

/* name: "buddyd.UID.POOL.ledger", of which UID.POOL is length bytes from 7 on. */
static void say_left(struct doctor *doctor, const char *name, size_t length) {
        char segment[300], text[QUANTITY_BYTES];
        struct stat status = {0};
        const char *owner = name + 7;
        const char *dot = memchr(owner, '.', length);
        int pool_length = dot ? (int)(owner + length - dot - 1) : 0;
        snprintf(segment, sizeof(segment), "%s%.*s.segment", folder, (int)(7 + length), name);
        if (pool_length == 0 || stat(segment, &status) != 0)
                return;
        doctor_say(doctor, "left", FINDING_WRONG,
                "pool '%.*s' of uid %.*s lies in %s without a daemon and occupies %s; \"buddyd "
                "--pool %.*s\" takes it over",
                pool_length, dot + 1, (int)(dot - owner), owner, folder,
                quantity_bytes(text, (uint64_t)status.st_blocks * 512), pool_length, dot + 1);
        doctor_mend(doctor, "rm %s%.*s.*", folder, (int)(7 + length), name);
}

void doctor_left(struct doctor *doctor) {
        DIR *stream = opendir(folder);
        if (!stream)
                return;
        size_t before = doctor->count;
        for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
                char path[300];
                size_t length = strlen(entry->d_name);
                if (strncmp(entry->d_name, "buddyd.", 7) != 0 || length < 15 ||
                        strcmp(entry->d_name + length - 7, ".ledger") != 0)
                        continue;
                snprintf(path, sizeof(path), "%s%s", folder, entry->d_name);
                if (is_served(path) == 0)
                        say_left(doctor, entry->d_name, length - 14);
        }
        closedir(stream);
        if (doctor->count == before)
                doctor_say(doctor, "left", FINDING_FINE, "nothing in %s is without its daemon",
                        folder);
}
