/* Starting and ending a real daemon. Its readiness is a connection that it answers. */
#include "daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/buddyclient.h"

#define READY_TRIES 3000 /* of 10 ms */

static void run(const struct daemon_process *daemon, const char *program, const char *reset) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        execl(program, program, "--socket", daemon->path, "--pool", daemon->pool, "--size",
                daemon->size, reset, (char *)NULL);
        _exit(127);
}

/* reset: the option, or NULL. */
static int spawn(struct daemon_process *daemon, const char *program, const char *reset) {
        daemon->pid = fork();
        if (daemon->pid == 0)
                run(daemon, program, reset);
        return daemon->pid > 0 ? 0 : -1;
}

struct buddyclient *daemon_process_client(const struct daemon_process *daemon) {
        struct buddyclient *client;
        if (buddyclient_new(&client) < 0)
                return NULL;
        if (buddyclient_set_socket(client, daemon->path) == 0 &&
                buddyclient_set_pool(client, daemon->pool) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}

struct buddyclient *daemon_process_connect(const struct daemon_process *daemon) {
        struct buddyclient *client = daemon_process_client(daemon);
        if (client && buddyclient_connect(client) == 0)
                return client;
        buddyclient_destroy(client);
        return NULL;
}

static int await_ready(const struct daemon_process *daemon) {
        for (int tries = 0; tries < READY_TRIES; tries++) {
                struct buddyclient *client = daemon_process_connect(daemon);
                if (client) {
                        buddyclient_destroy(client);
                        return 0;
                }
                if (waitpid(daemon->pid, NULL, WNOHANG) == daemon->pid)
                        return -1;
                nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        return -1;
}

int daemon_process_start(struct daemon_process *daemon, const char *program, uint64_t pool_bytes) {
        *daemon = (struct daemon_process){.folder = "/tmp/buddyclient-daemon-XXXXXX"};
        if (!mkdtemp(daemon->folder))
                return -1;
        snprintf(daemon->path, sizeof(daemon->path), "%s/sock", daemon->folder);
        snprintf(daemon->pool, sizeof(daemon->pool), "client-test-%d", (int)getpid());
        snprintf(daemon->size, sizeof(daemon->size), "%llu", (unsigned long long)pool_bytes);
        if (spawn(daemon, program, "--reset") == 0 && await_ready(daemon) == 0)
                return 0;
        fprintf(stderr, "%s did not become ready\n", program);
        daemon_process_stop(daemon);
        return -1;
}

void daemon_process_kill(struct daemon_process *daemon) {
        kill(daemon->pid, SIGKILL);
        waitpid(daemon->pid, NULL, 0);
        daemon->pid = 0;
}

int daemon_process_restart(struct daemon_process *daemon, const char *program) {
        return spawn(daemon, program, NULL);
}

int daemon_process_stop(struct daemon_process *daemon) {
        int status = -1;
        if (daemon->pid > 0) {
                kill(daemon->pid, SIGTERM);
                waitpid(daemon->pid, &status, 0);
        }
        unlink(daemon->path);
        rmdir(daemon->folder);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
