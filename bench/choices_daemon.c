#include "choices_daemon.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"

#define POOL_SIZE   "256M"
#define READY_TRIES 1000 /* of 10 ms */

static _Noreturn void run(const struct choices_daemon *daemon, const char *program) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        FILE *log = freopen(daemon->log, "w", stderr);
        if (log)
                setvbuf(log, NULL, _IONBF, 0);
        setpgid(0, 0); /* what is typed at a terminal ends the bench, and that ends the daemon */
        execl(program, program, "--socket", daemon->socket, "--pool", daemon->pool, "--size",
                POOL_SIZE, (char *)NULL);
        fprintf(stderr, "bench_choices: %s: %s; name the daemon with --buddyd\n", program,
                strerror(errno));
        _exit(127);
}

/* What it has said. */
static void print_log(const struct choices_daemon *daemon) {
        char line[512];
        FILE *log = fopen(daemon->log, "r");
        bool any = false;
        while (log && fgets(line, sizeof(line), log))
                any = fputs(line, stderr) >= 0;
        if (!any)
                fputs("bench_choices: the daemon ended without a word; see --buddyd\n", stderr);
        if (log)
                fclose(log);
}

static bool answers(const struct choices_daemon *daemon) {
        struct buddyclient *client;
        if (buddyclient_new(&client) != 0)
                return false;
        bool answer = buddyclient_set_socket(client, daemon->socket) == 0 &&
                      buddyclient_set_pool(client, daemon->pool) == 0 &&
                      buddyclient_connect(client) == 0;
        buddyclient_destroy(client);
        return answer;
}

static int await(struct choices_daemon *daemon) {
        for (int tries = 0; tries < READY_TRIES; tries++) {
                if (answers(daemon))
                        return 0;
                if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid) {
                        daemon->pid = 0;
                        print_log(daemon);
                        return -1;
                }
                nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        fputs("bench_choices: the daemon does not answer; see --buddyd\n", stderr);
        return -1;
}

int choices_daemon_start(struct choices_daemon *daemon, const char *program) {
        *daemon = (struct choices_daemon){.folder = "/tmp/bench_choices-XXXXXX"};
        if (!mkdtemp(daemon->folder)) {
                fprintf(stderr, "bench_choices: no folder in /tmp: %s\n", strerror(errno));
                daemon->folder[0] = '\0';
                return -1;
        }
        snprintf(daemon->socket, sizeof(daemon->socket), "%s/socket", daemon->folder);
        snprintf(daemon->log, sizeof(daemon->log), "%s/log", daemon->folder);
        snprintf(daemon->pool, sizeof(daemon->pool), "bench-choices-%d", (int)getpid());
        daemon->pid = fork();
        if (daemon->pid == 0)
                run(daemon, program);
        if (daemon->pid < 0) {
                fprintf(stderr, "bench_choices: cannot start a process: %s\n", strerror(errno));
                daemon->pid = 0;
                return -1;
        }
        return await(daemon);
}

void choices_daemon_move(const struct choices_daemon *daemon, const cpu_set_t *cpus) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/task", (int)daemon->pid);
        DIR *tasks = opendir(path);
        if (!tasks)
                return;
        for (struct dirent *entry = readdir(tasks); entry; entry = readdir(tasks)) {
                pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
                if (thread > 0)
                        sched_setaffinity(thread, sizeof(*cpus), cpus);
        }
        closedir(tasks);
}

void choices_daemon_stop(struct choices_daemon *daemon) {
        if (daemon->pid > 0) {
                kill(daemon->pid, SIGTERM);
                while (waitpid(daemon->pid, NULL, 0) < 0 && errno == EINTR)
                        continue;
        }
        daemon->pid = 0;
        if (daemon->folder[0] != '\0') {
                unlink(daemon->socket);
                unlink(daemon->log);
                rmdir(daemon->folder);
        }
}
