/* The machine: what it has, and what it leaves to the daemon. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "doctor.h"
#include "quantity.h"

#define MIB 1048576u

/* ---- /dev/shm ---- */

void doctor_shm(struct doctor *doctor) {
        struct statvfs shm;
        char size[QUANTITY_BYTES], free_text[QUANTITY_BYTES], need[QUANTITY_BYTES];
        if (doctor->has_stats && doctor->memfd)
                return;
        if (statvfs("/dev/shm", &shm) != 0) {
                doctor_say(doctor, "/dev/shm", FINDING_WRONG, "%s", strerror(errno));
                doctor_mend(doctor, "mount -t tmpfs -o mode=1777 tmpfs /dev/shm");
                return;
        }
        uint64_t whole = (uint64_t)shm.f_blocks * shm.f_frsize;
        uint64_t left = (uint64_t)shm.f_bavail * shm.f_frsize;
        uint64_t missing = doctor_missing_bytes(doctor);
        bool small = doctor->has_stats && whole < doctor->stats.size_bytes;
        bool wrong = small || left < missing;
        quantity_bytes(need, small ? doctor->stats.size_bytes : missing);
        doctor_say(doctor, "/dev/shm", wrong ? FINDING_WRONG : FINDING_FINE, "%s, %s free%s%s%s",
                quantity_bytes(size, whole), quantity_bytes(free_text, left),
                wrong ? ": the pool " : "", wrong ? (small ? "is larger: " : "still needs ") : "",
                wrong ? need : "");
        if (wrong)
                doctor_mend(doctor, "mount -o remount,size=%" PRIu64 "M /dev/shm",
                        (whole - left + missing) / MIB + 64);
}

/* ---- Memory ---- */

/* A figure of /proc/meminfo in bytes. */
static bool meminfo(const char *name, uint64_t *bytes) {
        FILE *file = fopen("/proc/meminfo", "re");
        char line[128];
        size_t length = strlen(name);
        bool found = false;
        while (file && !found && fgets(line, sizeof(line), file))
                if (strncmp(line, name, length) == 0 && line[length] == ':') {
                        *bytes = strtoull(line + length + 1, NULL, 10) * 1024;
                        found = true;
                }
        if (file)
                fclose(file);
        return found;
}

static bool file_line(const char *path, char *line, int size) {
        FILE *file = fopen(path, "re");
        bool read = file && fgets(line, size, file);
        if (file)
                fclose(file);
        if (read)
                line[strcspn(line, "\n")] = '\0';
        return read;
}

void doctor_memory(struct doctor *doctor) {
        uint64_t available, limit, committed, missing = doctor_missing_bytes(doctor);
        char text[QUANTITY_BYTES], need[QUANTITY_BYTES], mode[16] = "";
        quantity_bytes(need, missing);
        if (!meminfo("MemAvailable", &available))
                return;
        bool wrong = available < missing;
        doctor_say(doctor, "memory", wrong ? FINDING_WRONG : FINDING_FINE, "%s available%s%s",
                quantity_bytes(text, available), wrong ? ": the pool still needs " : "",
                wrong ? need : "");
        if (wrong)
                doctor_mend(doctor, "buddyd --size %" PRIu64 "M --pool %s --reset",
                        (doctor->stats.resident_bytes + available / 2) / MIB, doctor->pool);
        if (!file_line("/proc/sys/vm/overcommit_memory", mode, sizeof(mode)) ||
                strcmp(mode, "2") != 0 || !meminfo("CommitLimit", &limit) ||
                !meminfo("Committed_AS", &committed))
                return;
        uint64_t left = limit > committed ? limit - committed : 0;
        doctor_say(doctor, "overcommit", left < missing ? FINDING_WRONG : FINDING_FINE,
                "is off, and %s may still be promised", quantity_bytes(text, left));
        if (left < missing)
                doctor_mend(doctor, "sysctl vm.overcommit_memory=0");
}

/* ---- cgroup ---- */

/* The smallest limit from this cgroup up to the root of its hierarchy. */
static bool cgroup_limit(
        const char *root, const char *group, const char *name, uint64_t *limit, char file[512]) {
        char path[400], line[64];
        snprintf(path, sizeof(path), "%s", group);
        bool found = false;
        for (;;) {
                char at[512];
                snprintf(at, sizeof(at), "%s%s/%s", root, strcmp(path, "/") ? path : "", name);
                if (file_line(at, line, sizeof(line)) && line[0] >= '0' && line[0] <= '9') {
                        uint64_t here = strtoull(line, NULL, 10);
                        if (here < UINT64_C(1) << 60 && (!found || here < *limit)) {
                                *limit = here;
                                snprintf(file, 512, "%s", at);
                                found = true;
                        }
                }
                char *slash = strrchr(path, '/');
                if (!slash || path[1] == '\0')
                        return found;
                slash[slash == path] = '\0';
        }
}

/* Both versions: "0::/group", "7:memory:/group". */
static bool cgroup_find(pid_t pid, uint64_t *limit, char file[512]) {
        char path[64], line[512];
        snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
        FILE *groups = fopen(path, "re");
        bool found = false;
        while (groups && !found && fgets(line, sizeof(line), groups)) {
                line[strcspn(line, "\n")] = '\0';
                char *controllers = strchr(line, ':');
                char *group = controllers ? strchr(controllers + 1, ':') : NULL;
                if (!group)
                        continue;
                *group++ = '\0';
                if (strcmp(controllers + 1, "") == 0)
                        found = cgroup_limit("/sys/fs/cgroup", group, "memory.max", limit, file);
                else if (strstr(controllers + 1, "memory"))
                        found = cgroup_limit("/sys/fs/cgroup/memory", group,
                                "memory.limit_in_bytes", limit, file);
        }
        if (groups)
                fclose(groups);
        return found;
}

void doctor_cgroup(struct doctor *doctor) {
        uint64_t limit;
        char file[512], text[QUANTITY_BYTES], size[QUANTITY_BYTES];
        pid_t pid = doctor->daemon > 0 ? doctor->daemon : getpid();
        if (!cgroup_find(pid, &limit, file)) {
                doctor_say(doctor, "cgroup", FINDING_FINE, "no limit of memory that can be seen");
                return;
        }
        uint64_t wanted = doctor->has_stats ? doctor->stats.size_bytes + 64 * MIB : 0;
        bool wrong = limit < wanted;
        doctor_say(doctor, "cgroup", wrong ? FINDING_WRONG : FINDING_FINE,
                "limits memory to %s%s%s", quantity_bytes(text, limit),
                wrong ? ": the pool alone has " : "",
                wrong ? quantity_bytes(size, doctor->stats.size_bytes) : "");
        if (wrong)
                doctor_mend(doctor, "echo %" PRIu64 " > %.200s", wanted, file);
}

/* ---- Huge pages ---- */

void doctor_huge_pages(struct doctor *doctor) {
        static const char path[] = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
        char line[128];
        if (!file_line(path, line, sizeof(line))) {
                doctor_say(doctor, "huge pages", FINDING_FINE,
                        "this kernel has none for shared memory");
                return;
        }
        char *begin = strchr(line, '['), *end = strchr(line, ']');
        if (!begin || !end)
                return;
        *end = '\0';
        bool wrong = strcmp(begin + 1, "force") == 0 || strcmp(begin + 1, "deny") == 0;
        doctor_say(doctor, "huge pages", wrong ? FINDING_WRONG : FINDING_FINE,
                "shmem_enabled is %s%s", begin + 1,
                wrong ? ", which is for testing the kernel" : "");
        if (wrong)
                doctor_mend(doctor, "echo advise > %s", path);
}
