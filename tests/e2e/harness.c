#include "harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char stage_folder[64];
static unsigned stage_scenes;

/* ---- Clearing up ---- */

static int entry_remove(const char *path, const struct stat *info, int kind, struct FTW *walk) {
        (void)info, (void)kind, (void)walk;
        return remove(path);
}

static void shm_remove(const char *part) {
        DIR *folder = opendir("/dev/shm");
        for (struct dirent *entry; folder && (entry = readdir(folder));)
                if (strstr(entry->d_name, part))
                        unlinkat(dirfd(folder), entry->d_name, 0);
        if (folder)
                closedir(folder);
}

/* A test that crashes or runs out of time cannot clear up after itself. Its daemons die with it (PDEATHSIG); files and
 * segments are removed by this process, which holds nothing of the test's open. */
static void watcher_start(void) {
        pid_t test = getpid();
        int gone = (int)syscall(SYS_pidfd_open, test, 0);
        cr_assert(gone >= 0, "pidfd_open: %s", strerror(errno));
        pid_t watcher = fork();
        cr_assert(watcher >= 0);
        if (watcher > 0) {
                close(gone);
                return;
        }
        setsid();
        dup2(gone, 0);
        close_range(1, ~0u, 0);
        struct pollfd wait = {.fd = 0, .events = POLLIN};
        while (poll(&wait, 1, -1) < 0 && errno == EINTR)
                ;
        char part[32];
        snprintf(part, sizeof part, "e2e-%d-", (int)test);
        shm_remove(part);
        nftw(stage_folder, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
        _exit(0);
}

static void stage_open(void) {
        const char *base = getenv("TMPDIR");
        if (!base || strlen(base) > 24)
                base = "/tmp";
        snprintf(stage_folder, sizeof stage_folder, "%s/buddyd-e2e-XXXXXX", base);
        cr_assert_not_null(mkdtemp(stage_folder), "%s: %s", stage_folder, strerror(errno));
        chmod(stage_folder, 0755);
        prctl(PR_SET_CHILD_SUBREAPER, 1);
        signal(SIGPIPE, SIG_IGN);
        watcher_start();
}

bool stage_private(uint64_t shm_bytes) {
        if (!stage_folder[0])
                stage_open();
        if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
                return false;
        char options[64];
        snprintf(options, sizeof options, "mode=1777,size=%llu", (unsigned long long)shm_bytes);
        return mount("e2e", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, options) == 0 &&
               mount("e2e", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m") == 0;
}

/* ---- Scenes ---- */

void scene_open(struct scene *scene) {
        if (!stage_folder[0])
                stage_open();
        memset(scene, 0, sizeof *scene);
        unsigned number = ++stage_scenes;
        snprintf(scene->pool, sizeof scene->pool, "e2e-%d-%u", (int)getpid(), number);
        snprintf(scene->folder, sizeof scene->folder, "%s/%u", stage_folder, number);
        snprintf(scene->socket, sizeof scene->socket, "%s/sock", scene->folder);
        snprintf(scene->notify, sizeof scene->notify, "%s/notify", scene->folder);
        cr_assert(mkdir(scene->folder, 0755) == 0, "%s: %s", scene->folder, strerror(errno));

        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, scene->notify, sizeof scene->notify);
        scene->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert(bind(scene->notify_fd, (struct sockaddr *)&address, sizeof address) == 0);
        chmod(scene->notify, 0666);
}

static void errors_path(const struct scene *scene, unsigned start, char *path, size_t size) {
        snprintf(path, size, "%s/stderr-%u", scene->folder, start);
}

static pid_t daemon_spawn(struct scene *scene, va_list arguments) {
        const char *argv[ARGUMENTS_MAX] = {program_buddyd()};
        size_t count = 1;
        if (!scene->bare) {
                argv[count++] = "--socket";
                argv[count++] = scene->socket;
                argv[count++] = "--pool";
                argv[count++] = scene->pool;
        }
        while (count + 1 < ARGUMENTS_MAX && (argv[count] = va_arg(arguments, const char *)))
                count++;

        char errors[128];
        errors_path(scene, ++scene->starts, errors, sizeof errors);
        for (char drain[512]; recv(scene->notify_fd, drain, sizeof drain, 0) >= 0;)
                ;
        pid_t process = fork();
        cr_assert(process >= 0);
        if (process > 0)
                return process;
        int fd = open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        dup2(fd, 1);
        dup2(fd, 2);
        close_range(3, ~0u, 0);
        if (scene->fd_limit) {
                struct rlimit limit = {scene->fd_limit, scene->fd_limit};
                setrlimit(RLIMIT_NOFILE, &limit);
        }
        process_environment(scene);
        setenv("NOTIFY_SOCKET", scene->notify, 1);
        process_become(scene);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
}

static bool notified_ready(const struct scene *scene) {
        char text[512];
        ssize_t length = recv(scene->notify_fd, text, sizeof text - 1, 0);
        if (length < 0)
                return false;
        text[length] = 0;
        return strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1");
}

/* True when it says ready, false when it has ended. */
static bool daemon_settled(struct scene *scene) {
        int gone = (int)syscall(SYS_pidfd_open, scene->daemon, 0);
        struct pollfd wait[2] = {
                {.fd = scene->notify_fd, .events = POLLIN}, {.fd = gone, .events = POLLIN}};
        uint64_t deadline = now_ms() + PATIENCE_MS;
        bool ready = false, ended = false;
        while (!ready && !ended) {
                uint64_t now = now_ms();
                if (now >= deadline)
                        break;
                poll(wait, 2, (int)(deadline - now));
                ready = (wait[0].revents & POLLIN) && notified_ready(scene);
                ended = !ready && (wait[1].revents & POLLIN);
        }
        close(gone);
        cr_assert(ready || ended, "buddyd neither ready nor gone after %d ms: %s", PATIENCE_MS,
                scene_errors(scene));
        return ready;
}

void scene_start(struct scene *scene, ...) {
        va_list arguments;
        va_start(arguments, scene);
        scene->daemon = daemon_spawn(scene, arguments);
        va_end(arguments);
        if (daemon_settled(scene))
                return;
        int status = process_wait(scene->daemon);
        scene->daemon = 0;
        cr_assert(false, "buddyd did not start, status %d: %s", status, scene_errors(scene));
}

/* A daemon that fails half-way has told of what it did before; the refusal itself is one line all the same. */
static const char *notices_skip(const char *errors) {
        while (strncmp(errors, "buddyd: notice: ", 16) == 0 ||
                strncmp(errors, "buddyd: info: ", 14) == 0)
                errors = strchr(errors, '\n') + 1;
        return errors;
}

const char *scene_refused(struct scene *scene, int status, ...) {
        va_list arguments;
        va_start(arguments, status);
        pid_t running = scene->daemon;
        scene->daemon = daemon_spawn(scene, arguments);
        va_end(arguments);
        bool ready = daemon_settled(scene);
        int found = ready ? scene_stop(scene, SIGTERM) : process_wait(scene->daemon);
        scene->daemon = running;
        const char *errors = scene_errors(scene);
        cr_assert(!ready, "buddyd started instead of refusing");
        cr_assert_eq(found, status, "status %d, expected %d: %s", found, status, errors);
        const char *refusal = status == 1 ? notices_skip(errors) : errors;
        expect_one_line(refusal, "a refusal of buddyd");
        return refusal;
}

void scene_start_limited(struct scene *scene, const char *daemon_keys, const char *pool_keys) {
        char path[128];
        snprintf(path, sizeof path, "%s/buddyd.conf", scene->folder);
        FILE *file = fopen(path, "w");
        cr_assert_not_null(file);
        fprintf(file, "[buddyd]\nsocket-mode = 0666\n%s[pool %s]\nsize = 4M\n%s", daemon_keys,
                scene->pool, pool_keys);
        fclose(file);
        scene_start(scene, "--config", path, NULL);
}

bool scene_start_or_refuse(struct scene *scene, ...) {
        va_list arguments;
        va_start(arguments, scene);
        scene->daemon = daemon_spawn(scene, arguments);
        va_end(arguments);
        if (daemon_settled(scene))
                return true;
        int status = process_wait(scene->daemon);
        scene->daemon = 0;
        cr_assert_eq(status, 1, "buddyd ended with %d: %s", status, scene_errors(scene));
        return false;
}

int scene_stop(struct scene *scene, int signal) {
        cr_assert(scene->daemon > 0, "no daemon runs");
        pid_t process = scene->daemon;
        scene->daemon = 0;
        cr_assert(kill(process, signal) == 0);
        return process_wait(process);
}

void scene_kill(struct scene *scene) {
        cr_assert_eq(scene_stop(scene, SIGKILL), -SIGKILL);
}

void scene_freeze(const struct scene *scene) {
        siginfo_t info;
        cr_assert(kill(scene->daemon, SIGSTOP) == 0);
        cr_assert(waitid(P_PID, (id_t)scene->daemon, &info, WSTOPPED) == 0);
}

void scene_thaw(const struct scene *scene) {
        cr_assert(kill(scene->daemon, SIGCONT) == 0);
}

void scene_close(struct scene *scene) {
        expect_sound(scene);
        int status = scene_stop(scene, SIGTERM);
        cr_assert_eq(status, 0, "buddyd ended with %d: %s", status, scene_errors(scene));
        cr_assert_eq(scene_shm_count(scene), 0, "objects left in /dev/shm");
        cr_assert(access(scene->socket, F_OK) != 0, "the socket file is left behind");
        close(scene->notify_fd);
}

const char *scene_errors(const struct scene *scene) {
        static char text[1 << 16];
        char path[128];
        errors_path(scene, scene->starts, path, sizeof path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
                close(fd);
        text[length > 0 ? length : 0] = 0;
        return text;
}

size_t scene_shm_count(const struct scene *scene) {
        size_t count = 0;
        DIR *folder = opendir("/dev/shm");
        cr_assert_not_null(folder);
        size_t length = strlen(scene->pool);
        for (struct dirent *entry; (entry = readdir(folder));) {
                const char *found = strstr(entry->d_name, scene->pool);
                count += found && (found[length] < '0' || found[length] > '9');
        }
        closedir(folder);
        return count;
}

bool scene_shm_find(const struct scene *scene, uint64_t size, char *path, size_t path_size) {
        bool hit = false;
        DIR *folder = opendir("/dev/shm");
        cr_assert_not_null(folder);
        for (struct dirent *entry; !hit && (entry = readdir(folder));) {
                struct stat info;
                if (!strstr(entry->d_name, scene->pool) ||
                        fstatat(dirfd(folder), entry->d_name, &info, 0) != 0)
                        continue;
                hit = (uint64_t)info.st_size == size;
                snprintf(path, path_size, "/dev/shm/%s", entry->d_name);
        }
        closedir(folder);
        return hit;
}

size_t scene_daemon_fds(const struct scene *scene) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/fd", (int)scene->daemon);
        DIR *folder = opendir(path);
        cr_assert_not_null(folder, "%s: %s", path, strerror(errno));
        size_t count = 0;
        while (readdir(folder))
                count++;
        closedir(folder);
        return count - 2;
}

static void proc_read(const struct scene *scene, const char *name, char *text, size_t size) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/%s", (int)scene->daemon, name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
        ssize_t length = read(fd, text, size - 1);
        close(fd);
        cr_assert(length > 0);
        text[length] = 0;
}

uint64_t scene_daemon_resident(const struct scene *scene) {
        char text[4096];
        proc_read(scene, "status", text, sizeof text);
        const char *line = strstr(text, "VmRSS:");
        cr_assert_not_null(line);
        return strtoull(line + 6, NULL, 10) * 1024;
}

double scene_daemon_cpu(const struct scene *scene) {
        char text[1024];
        proc_read(scene, "stat", text, sizeof text);
        unsigned long user = 0, kernel = 0;
        const char *after = strrchr(text, ')');
        cr_assert_not_null(after);
        int found = sscanf(
                after + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
        cr_assert_eq(found, 2);
        return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

/* How often threads of the daemon have gone to sleep. */
static unsigned long sleeps(const struct scene *scene) {
        char path[300], line[256];
        unsigned long sum = 0, count;
        snprintf(path, sizeof path, "/proc/%d/task", (int)scene->daemon);
        DIR *tasks = opendir(path);
        cr_assert(tasks);
        for (const struct dirent *task; (task = readdir(tasks));) {
                snprintf(path, sizeof path, "/proc/%d/task/%.20s/status", (int)scene->daemon,
                        task->d_name);
                FILE *file = task->d_name[0] == '.' ? NULL : fopen(path, "re");
                while (file && fgets(line, sizeof line, file))
                        if (sscanf(line, "voluntary_ctxt_switches: %lu", &count) == 1)
                                sum += count;
                if (file)
                        fclose(file);
        }
        closedir(tasks);
        return sum;
}

/* By far longer than it is between two looks of a daemon that is awake. */
#define IDLE_MS 2000

void scene_await_idle(const struct scene *scene) {
        uint64_t deadline = now_ms() + PATIENCE_MS, since = now_ms();
        unsigned long count = sleeps(scene);
        while (now_ms() < since + IDLE_MS) {
                cr_assert_lt(now_ms(), deadline, "it wakes up again and again");
                nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
                unsigned long now = sleeps(scene);
                if (now != count)
                        since = now_ms();
                count = now;
        }
}
