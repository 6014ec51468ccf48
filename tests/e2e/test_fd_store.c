/* A service manager that keeps the daemon's descriptors: memfd pools that outlive a kill in its store, and its watchdog.
 * The manager is this test: it takes what comes over the notify socket and hands it to the next daemon. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

TestSuite(fd_store, .timeout = 60);

#define KEPT_MAX 16

struct manager {
        struct scene scene;
        struct {
                char name[96];
                int fd;
        } kept[KEPT_MAX];
        size_t count;
        bool ready;
        unsigned pings;
        const char *watchdog_us; /* NULL: none */
        int socket;              /* listening, and passed to the daemon; 0: none */
};

/* ---- What the daemon says ---- */

static void manager_keep(struct manager *manager, const char *name, int fd) {
        cr_assert(fd >= 0 && manager->count < KEPT_MAX);
        int index = (int)manager->count++;
        snprintf(manager->kept[index].name, sizeof manager->kept[index].name, "%s", name);
        manager->kept[index].fd = fd;
}

static void manager_drop(struct manager *manager, const char *name) {
        for (size_t at = 0; at < manager->count;) {
                if (strcmp(manager->kept[at].name, name) != 0) {
                        at++;
                        continue;
                }
                close(manager->kept[at].fd);
                manager->kept[at] = manager->kept[--manager->count];
        }
}

static void manager_obey(struct manager *manager, char *message, int fd) {
        char name[96] = "stored";
        bool store = false, drop = false;
        for (char *line = strtok(message, "\n"); line; line = strtok(NULL, "\n")) {
                if (strncmp(line, "FDNAME=", 7) == 0)
                        snprintf(name, sizeof name, "%s", line + 7);
                store |= strcmp(line, "FDSTORE=1") == 0;
                drop |= strcmp(line, "FDSTOREREMOVE=1") == 0;
                manager->ready |= strcmp(line, "READY=1") == 0;
                manager->pings += strcmp(line, "WATCHDOG=1") == 0;
        }
        if (store)
                manager_keep(manager, name, fd);
        if (drop)
                manager_drop(manager, name);
}

/* One message that is there; false: there is none. */
static bool manager_hear(struct manager *manager) {
        char text[4096];
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(4 * sizeof(int))];
        } control;
        struct iovec part = {text, sizeof text - 1};
        struct msghdr message = {.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control};
        ssize_t length = recvmsg(manager->scene.notify_fd, &message, MSG_CMSG_CLOEXEC);
        if (length < 0)
                return false;
        int fd = -1;
        for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at))
                if (at->cmsg_type == SCM_RIGHTS)
                        memcpy(&fd, CMSG_DATA(at), sizeof fd);
        text[length] = 0;
        manager_obey(manager, text, fd);
        return true;
}

/* Hears until milliseconds have passed without a message. */
static void manager_listen(struct manager *manager, int milliseconds) {
        struct pollfd wait = {.fd = manager->scene.notify_fd, .events = POLLIN};
        while (poll(&wait, 1, milliseconds) == 1)
                manager_hear(manager);
}

/* ---- Starting and ending it ---- */

static void manager_open(struct manager *manager) {
        memset(manager, 0, sizeof *manager);
        scene_open(&manager->scene);
}

/* In the child: descriptors from 3 on, and what says so. */
static void descriptors_pass(const struct manager *manager) {
        char names[2048] = "", text[32];
        int count = 0;
        int fds[KEPT_MAX + 1];
        for (size_t at = 0; at < manager->count; at++) {
                strcat(strcat(names, at ? ":" : ""), manager->kept[at].name);
                fds[count++] = fcntl(manager->kept[at].fd, F_DUPFD, 200);
        }
        if (manager->socket) {
                strcat(names, count ? ":buddyd.socket" : "buddyd.socket");
                fds[count++] = fcntl(manager->socket, F_DUPFD, 200);
        }
        for (int at = 0; at < count; at++)
                dup2(fds[at], 3 + at);
        close_range((unsigned)(3 + count), ~0u, 0);
        snprintf(text, sizeof text, "%d", count);
        if (count > 0)
                setenv("LISTEN_FDS", text, 1);
        setenv("LISTEN_FDNAMES", names, 1);
        snprintf(text, sizeof text, "%d", (int)getpid());
        setenv("LISTEN_PID", text, 1);
        if (manager->watchdog_us) {
                setenv("WATCHDOG_USEC", manager->watchdog_us, 1);
                setenv("WATCHDOG_PID", text, 1);
        }
}

static pid_t daemon_fork(struct manager *manager, const char *const *extra) {
        struct scene *scene = &manager->scene;
        const char *argv[ARGUMENTS_MAX] = {program_buddyd(), "--socket", scene->socket, "--pool",
                scene->pool, "--backing", "memfd", "--size", "4M", "--workers", "2"};
        char errors[128];
        size_t count = 11;
        for (; *extra; extra++)
                argv[count++] = *extra;
        snprintf(errors, sizeof errors, "%s/stderr-%u", scene->folder, ++scene->starts);
        pid_t process = fork();
        cr_assert(process >= 0);
        if (process > 0)
                return process;
        dup2(open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
        process_environment(NULL);
        setenv("NOTIFY_SOCKET", scene->notify, 1);
        descriptors_pass(manager);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
}

#define EXTRA(...)                                                                                 \
        (const char *const[]) {                                                                    \
                __VA_ARGS__ __VA_OPT__(, ) NULL                                                    \
        }

static void manager_start(struct manager *manager, const char *const *extra) {
        manager->ready = false;
        manager->scene.daemon = daemon_fork(manager, extra);
        struct pollfd wait = {.fd = manager->scene.notify_fd, .events = POLLIN};
        while (!manager->ready) {
                cr_assert_eq(poll(&wait, 1, PATIENCE_MS), 1, "not ready: %s",
                        scene_errors(&manager->scene));
                manager_hear(manager);
        }
}

/* Must end by itself with status 1 and say this. */
static void manager_refused(struct manager *manager, const char *const *extra, const char *what) {
        cr_assert_eq(
                process_wait(daemon_fork(manager, extra)), 1, "%s", scene_errors(&manager->scene));
        manager_listen(manager, 0);
        cr_assert_not_null(
                strstr(scene_errors(&manager->scene), what), "%s", scene_errors(&manager->scene));
}

static void manager_kill(struct manager *manager) {
        scene_kill(&manager->scene);
        manager_listen(manager, 0);
}

static void manager_stop(struct manager *manager) {
        cr_assert_eq(scene_stop(&manager->scene, SIGTERM), 0);
        manager_listen(manager, 0);
        cr_assert_eq(scene_shm_count(&manager->scene), 0, "a stop left something in /dev/shm");
}

static int kept_fd(const struct manager *manager, const char *kind) {
        char name[96];
        snprintf(name, sizeof name, "buddyd.%s.%s", manager->scene.pool, kind);
        for (size_t at = 0; at < manager->count; at++)
                if (strcmp(manager->kept[at].name, name) == 0)
                        return manager->kept[at].fd;
        return -1;
}

static void treasure_put(struct manager *manager, uint64_t *offset) {
        const struct json *got = ctl_json(&manager->scene, "alloc", "64K", "--json", NULL);
        *offset = (uint64_t)json_member(got, "offset")->integer;
        struct buddyclient *client = client_new(&manager->scene);
        memcpy((char *)buddyclient_base(client) + *offset, "treasure", 8);
        buddyclient_destroy(client);
}

static void treasure_expect(struct manager *manager, uint64_t offset, uint64_t restarts) {
        struct buddyclient *client = client_new(&manager->scene);
        struct buddyclient_stats stats = stats_of(client);
        cr_assert_eq(stats.held_bytes, 65536);
        cr_assert_eq(stats.restarts, restarts);
        cr_assert_arr_eq((char *)buddyclient_base(client) + offset, "treasure", 8);
        buddyclient_destroy(client);
        expect_sound(&manager->scene);
}

/* ---- The store ---- */

Test(fd_store, a_memfd_pool_outlives_a_kill) {
        struct manager manager;
        uint64_t offset;
        manager_open(&manager);
        manager_start(&manager, EXTRA());
        cr_assert_eq(manager.count, 2);
        treasure_put(&manager, &offset);
        for (uint64_t round = 1; round <= 3; round++) {
                manager_kill(&manager);
                cr_assert(kept_fd(&manager, "segment") >= 0 && kept_fd(&manager, "ledger") >= 0);
                manager_start(&manager, EXTRA());
                cr_assert_eq(manager.count, 2, "kept twice, or not any more");
                treasure_expect(&manager, offset, round);
        }
        manager_stop(&manager);
        cr_assert_eq(manager.count, 0, "a clean stop left its memory with the manager");
}

Test(fd_store, with_keep_it_outlives_a_stop) {
        struct manager manager;
        uint64_t offset;
        manager_open(&manager);
        manager_start(&manager, EXTRA("--keep"));
        treasure_put(&manager, &offset);
        manager_stop(&manager);
        cr_assert_eq(manager.count, 2);
        manager_start(&manager, EXTRA());
        treasure_expect(&manager, offset, 1);
        manager_stop(&manager);
        cr_assert_eq(manager.count, 0);
}

Test(fd_store, a_socket_may_be_among_it) {
        struct manager manager;
        uint64_t offset;
        manager_open(&manager);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        memcpy(address.sun_path, manager.scene.socket, sizeof manager.scene.socket);
        manager.socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert(bind(manager.socket, (struct sockaddr *)&address, sizeof address) == 0);
        cr_assert(listen(manager.socket, 64) == 0);
        manager_start(&manager, EXTRA());
        treasure_put(&manager, &offset);
        manager_kill(&manager);
        manager_start(&manager, EXTRA());
        treasure_expect(&manager, offset, 1);
        manager_stop(&manager);
}

Test(fd_store, reset_starts_anew) {
        struct manager manager;
        uint64_t offset;
        struct stat before, after;
        manager_open(&manager);
        manager_start(&manager, EXTRA());
        treasure_put(&manager, &offset);
        manager_kill(&manager);
        cr_assert(fstat(kept_fd(&manager, "segment"), &before) == 0);
        manager_start(&manager, EXTRA("--reset"));
        cr_assert_eq(manager.count, 2);
        cr_assert(fstat(kept_fd(&manager, "segment"), &after) == 0);
        cr_assert_neq(before.st_ino, after.st_ino);
        struct buddyclient *client = client_new(&manager.scene);
        expect_held(client, 0);
        buddyclient_destroy(client);
        manager_stop(&manager);
}

Test(fd_store, another_geometry_or_backing_is_refused) {
        struct manager manager;
        uint64_t offset;
        manager_open(&manager);
        manager_start(&manager, EXTRA());
        treasure_put(&manager, &offset);
        manager_kill(&manager);
        manager_refused(&manager, EXTRA("--size", "8M"), "--reset");
        manager_refused(&manager, EXTRA("--backing", "posix-shm"), "--backing memfd");
        cr_assert_eq(manager.count, 2, "a refused start took something away");
        manager_start(&manager, EXTRA());
        treasure_expect(&manager, offset, 1);
        manager_stop(&manager);
}

Test(fd_store, what_is_no_pool_is_refused) {
        struct manager manager;
        char name[96];
        uint64_t offset;
        manager_open(&manager);
        manager_start(&manager, EXTRA());
        treasure_put(&manager, &offset);
        manager_kill(&manager);
        struct manager good = manager;

        /* The ledger alone, then the segment alone. */
        snprintf(name, sizeof name, "buddyd.%s.segment", manager.scene.pool);
        int segment = dup(kept_fd(&good, "segment"));
        manager_drop(&manager, name);
        manager_refused(&manager, EXTRA(), "a ledger but no segment");
        manager_keep(&manager, name, segment);
        struct manager lone = manager;
        lone.count = 1;
        lone.kept[0] = manager.kept[1];
        manager_refused(&lone, EXTRA(), "a segment but no ledger");
        manager.scene.starts = lone.scene.starts;

        /* A memfd that anybody could cut, a file of another kind, the same name twice. */
        int loose = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        cr_assert(fchmod(loose, 0600) == 0 && ftruncate(loose, 4 * (off_t)MIB) == 0);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        int wrong[2] = {loose, null};
        for (size_t each = 0; each < 2; each++) {
                struct manager other = manager;
                other.kept[1].fd = wrong[each];
                manager_refused(&other, EXTRA(), "no sealed memfd");
                manager.scene.starts = other.scene.starts;
        }
        struct manager twice = manager;
        twice.kept[twice.count++] = twice.kept[0];
        manager_refused(&twice, EXTRA(), "more than once");
        manager.scene.starts = twice.scene.starts;

        manager_start(&manager, EXTRA());
        treasure_expect(&manager, offset, 1);
        manager_stop(&manager);
        close(loose);
        close(null);
}

/* Killed between making the ledger and finishing the pool. */
Test(fd_store, a_pool_that_was_never_finished_is_made_anew) {
        struct manager manager;
        char name[96];
        manager_open(&manager);
        int ledger = memfd_create("ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        cr_assert(fchmod(ledger, 0600) == 0 && ftruncate(ledger, 16 * (off_t)MIB) == 0);
        cr_assert(fcntl(ledger, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
        snprintf(name, sizeof name, "buddyd.%s.ledger", manager.scene.pool);
        manager_keep(&manager, name, ledger);
        manager_start(&manager, EXTRA());
        cr_assert_eq(manager.count, 2);
        cr_assert(kept_fd(&manager, "segment") >= 0 && kept_fd(&manager, "ledger") >= 0);
        manager_stop(&manager);
        cr_assert_eq(manager.count, 0);
}

/* ---- The watchdog ---- */

static void pings_await(struct manager *manager, unsigned count) {
        struct pollfd wait = {.fd = manager->scene.notify_fd, .events = POLLIN};
        while (manager->pings < count) {
                cr_assert_eq(poll(&wait, 1, PATIENCE_MS), 1, "no sign of life");
                manager_hear(manager);
        }
}

/* A thread of the daemon other than its first. */
static pid_t worker_thread(pid_t daemon) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/task", (int)daemon);
        DIR *threads = opendir(path);
        pid_t found = 0;
        for (const struct dirent *entry; threads && (entry = readdir(threads));) {
                pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
                if (thread > 0 && thread != daemon)
                        found = thread;
        }
        closedir(threads);
        return found;
}

Test(fd_store, the_watchdog_hears_of_every_worker) {
        struct manager manager;
        manager_open(&manager);
        manager.watchdog_us = "400000";
        manager_start(&manager, EXTRA());
        pings_await(&manager, 3);

        pid_t thread = worker_thread(manager.scene.daemon);
        if (ptrace(PTRACE_SEIZE, thread, NULL, NULL) != 0)
                cr_skip_test("may not stop a single thread of the daemon");
        int status;
        cr_assert(ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) == 0);
        cr_assert_eq(waitpid(thread, &status, __WALL), thread);
        manager.pings = 0;
        manager_listen(&manager, 1200); /* six turns */
        cr_assert_leq(manager.pings, 1, "a hung worker is covered up");
        cr_assert(ptrace(PTRACE_DETACH, thread, NULL, NULL) == 0);
        pings_await(&manager, manager.pings + 3);
        manager_stop(&manager);
}

Test(fd_store, without_a_watchdog_nothing_is_sent) {
        struct manager manager;
        manager_open(&manager);
        manager_start(&manager, EXTRA());
        double before = scene_daemon_cpu(&manager.scene);
        manager_listen(&manager, 600);
        cr_assert_eq(manager.pings, 0);
        cr_assert_lt(scene_daemon_cpu(&manager.scene) - before, 0.02);
        manager_stop(&manager);
}
