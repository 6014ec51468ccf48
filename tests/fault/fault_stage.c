#include "fault_stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"

#define START_MS  30000 /* a daemon that needs longer hangs */
#define LOG_SHOWN 3000  /* bytes */

uint64_t now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void pause_us(uint64_t microseconds) {
        nanosleep(&(struct timespec){.tv_sec = (time_t)(microseconds / 1000000),
                          .tv_nsec = (long)(microseconds % 1000000) * 1000},
                NULL);
}

/* ---- Clearing up ---- */

/* How many objects in /dev/shm are the pool's. */
static unsigned objects(const char *pool, bool removed) {
        unsigned count = 0;
        DIR *folder = opendir("/dev/shm");
        for (struct dirent *entry; folder && (entry = readdir(folder));) {
                if (!strstr(entry->d_name, pool))
                        continue;
                count++;
                if (removed)
                        unlinkat(dirfd(folder), entry->d_name, 0);
        }
        if (folder)
                closedir(folder);
        return count;
}

static void clear(const struct fault_stage *stage) {
        objects(stage->pool, true);
        DIR *folder = opendir(stage->folder);
        for (struct dirent *entry; folder && (entry = readdir(folder));)
                unlinkat(dirfd(folder), entry->d_name, 0); /* "." and ".." are refused */
        if (folder)
                closedir(folder);
        rmdir(stage->folder);
}

static void watcher_start(const struct fault_stage *stage) {
        pid_t program = getpid();
        int gone = (int)syscall(SYS_pidfd_open, program, 0);
        if (gone < 0)
                stage_fail(stage, "pidfd_open: %s", strerror(errno));
        pid_t watcher = fork();
        if (watcher > 0)
                close(gone);
        if (watcher != 0)
                return;
        setsid();
        dup2(gone, 0);
        close_range(1, ~0u, 0);
        struct pollfd wait = {.fd = 0, .events = POLLIN};
        while (poll(&wait, 1, -1) < 0 && errno == EINTR)
                ;
        clear(stage);
        _exit(0);
}

void stage_fail(const struct fault_stage *stage, const char *format, ...) {
        char text[LOG_SHOWN];
        va_list arguments;
        fflush(stdout);
        int fd = open(stage->log, O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && lseek(fd, -LOG_SHOWN, SEEK_END) < 0)
                lseek(fd, 0, SEEK_SET);
        ssize_t length = fd < 0 ? 0 : read(fd, text, LOG_SHOWN);
        if (length > 0)
                fprintf(stderr, "The end of the daemons' log:\n...%.*s", (int)length, text);
        va_start(arguments, format);
        vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        fprintf(stderr, "FAILED: %s\n", text);
        exit(1);
}

/* ---- The stage ---- */

void stage_open(
        struct fault_stage *stage, const char *buddyd, const char *buddyctl, uint64_t size) {
        *stage = (struct fault_stage){.buddyd = buddyd,
                .buddyctl = buddyctl,
                .folder = "/tmp/buddyd-fault-XXXXXX",
                .cache_bytes = 1 << 20};
        if (!mkdtemp(stage->folder))
                stage_fail(stage, "mkdtemp: %s", strerror(errno));
        snprintf(stage->socket, sizeof stage->socket, "%s/sock", stage->folder);
        snprintf(stage->log, sizeof stage->log, "%s/log", stage->folder);
        snprintf(stage->notify, sizeof stage->notify, "%s/notify", stage->folder);
        snprintf(stage->pool, sizeof stage->pool, "fault-%d-", (int)getpid());
        snprintf(stage->size, sizeof stage->size, "%llu", (unsigned long long)size);
        memcpy(stage->max_size, stage->size, sizeof stage->size);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, stage->notify, sizeof stage->notify);
        stage->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (bind(stage->notify_fd, (struct sockaddr *)&address, sizeof address) < 0)
                stage_fail(stage, "%s: %s", stage->notify, strerror(errno));
        watcher_start(stage);
}

void stage_close(struct fault_stage *stage) {
        unsigned left = stage_objects(stage);
        if (left > 0)
                stage_fail(stage, "%u objects left in /dev/shm", left);
        clear(stage);
        close(stage->notify_fd);
}

static void become(const struct fault_stage *stage, const char *const *arguments, int flags) {
        int fd = open(stage->log, O_WRONLY | O_CREAT | O_APPEND | flags, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        close_range(3, ~0u, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("NOTIFY_SOCKET", stage->notify, 1);
        execv(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
}

void stage_start(struct fault_stage *stage, bool keep) {
        const char *arguments[] = {stage->buddyd, "--socket", stage->socket, "--pool", stage->pool,
                "--size", stage->size, "--max-size", stage->max_size, "--commit",
                stage->lazy ? "lazy" : "eager", "--socket-mode", stage->open ? "0666" : "0600",
                keep ? "--keep" : NULL, NULL};
        if (stage->open && chmod(stage->folder, 0711) < 0)
                stage_fail(stage, "%s: %s", stage->folder, strerror(errno));
        for (char drain[512]; recv(stage->notify_fd, drain, sizeof drain, 0) >= 0;)
                ;
        stage->ready = false;
        stage->daemon = fork();
        if (stage->daemon == 0)
                become(stage, arguments, 0);
        if (stage->daemon < 0)
                stage_fail(stage, "fork: %s", strerror(errno));
}

static bool notified(const struct fault_stage *stage) {
        char text[512];
        ssize_t length;
        while ((length = recv(stage->notify_fd, text, sizeof text - 1, 0)) >= 0) {
                text[length] = 0;
                if (strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1"))
                        return true;
        }
        return false;
}

static void expect_running(struct fault_stage *stage) {
        int status;
        if (waitpid(stage->daemon, &status, WNOHANG) != stage->daemon)
                return;
        stage->daemon = 0;
        stage_fail(stage, "the daemon ended by itself, status 0x%x", (unsigned)status);
}

void stage_await(struct fault_stage *stage) {
        uint64_t deadline = now_us() + START_MS * 1000;
        while (!stage->ready) {
                struct pollfd wait = {.fd = stage->notify_fd, .events = POLLIN};
                poll(&wait, 1, 100);
                stage->ready = notified(stage);
                if (!stage->ready)
                        expect_running(stage);
                if (now_us() > deadline)
                        stage_fail(stage, "the daemon does not become ready");
        }
}

bool stage_await_or_ended(struct fault_stage *stage, int *status) {
        uint64_t deadline = now_us() + START_MS * 1000;
        while (!stage->ready) {
                struct pollfd wait = {.fd = stage->notify_fd, .events = POLLIN};
                poll(&wait, 1, 1);
                stage->ready = notified(stage) || stage_log_count(stage, " ready: ") > 0;
                if (!stage->ready && waitpid(stage->daemon, status, WNOHANG) == stage->daemon) {
                        stage->daemon = 0;
                        return false;
                }
                if (now_us() > deadline)
                        stage_fail(stage, "the daemon is neither ready nor gone");
        }
        return true;
}

void stage_empty_log(const struct fault_stage *stage) {
        if (truncate(stage->log, 0) < 0 && errno != ENOENT)
                stage_fail(stage, "%s: %s", stage->log, strerror(errno));
}

unsigned stage_objects(const struct fault_stage *stage) {
        return objects(stage->pool, false);
}

void stage_end(struct fault_stage *stage, int signal) {
        int status = 0;
        expect_running(stage);
        kill(stage->daemon, signal);
        waitpid(stage->daemon, &status, 0);
        stage->daemon = 0;
        bool expected = signal == SIGKILL ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                          : WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (!expected)
                stage_fail(stage, "the daemon ended with status 0x%x", (unsigned)status);
}

void stage_check(struct fault_stage *stage) {
        const char *arguments[] = {
                stage->buddyctl, "--socket", stage->socket, "--pool", stage->pool, "check", NULL};
        int status = 0;
        pid_t process = fork();
        if (process == 0)
                become(stage, arguments, 0);
        if (process < 0 || waitpid(process, &status, 0) != process || status != 0)
                stage_fail(stage, "buddyctl check: status 0x%x", (unsigned)status);
}

unsigned stage_log_count(const struct fault_stage *stage, const char *word) {
        char line[1024];
        unsigned count = 0;
        FILE *log = fopen(stage->log, "re");
        while (log && fgets(line, sizeof line, log))
                count += strstr(line, word) != NULL;
        if (log)
                fclose(log);
        return count;
}

struct buddyclient *stage_client(
        const struct fault_stage *stage, const char *name, int timeout_ms) {
        struct buddyclient *client;
        if (buddyclient_new(&client) != 0)
                return NULL;
        if (buddyclient_set_socket(client, stage->socket) == 0 &&
                buddyclient_set_pool(client, stage->pool) == 0 &&
                buddyclient_set_name(client, name) == 0 &&
                buddyclient_set_cache_bytes(client, stage->cache_bytes) == 0 &&
                buddyclient_set_timeout_ms(client, timeout_ms) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}
