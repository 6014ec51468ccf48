/* See live_server.h. */
#include "live_server.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/log.h"
#include "daemon/quota.h"
#include "daemon/server.h"
#include "daemon/worker.h"
#include "fuzz.h"

static struct pool_settings pool_settings = {
        .size_bytes = LIVE_PAGES * LIVE_PAGE,
        .max_size_bytes = LIVE_PAGES_MAX * LIVE_PAGE,
        .page_bytes = LIVE_PAGE,
        .backing = BACKING_MEMFD,
        .commit = COMMIT_LAZY,
};
static struct settings settings = {.workers = 2, .pools = &pool_settings, .pool_count = 1};
static struct store *store;
static int listen_fd;
static struct sockaddr_un address;
static socklen_t address_bytes;
static sem_t ready;

static void on_ready(void) {
        sem_post(&ready);
}

static void *serve(void *context) {
        struct server_start start = {
                .stores = &store,
                .store_count = 1,
                .listen_fd = listen_fd,
                .metrics_fd = -1,
                .started_ns = worker_clock_ns(),
                .ready = on_ready,
        };
        fuzz_require(server_run(&settings, &start) == 0);
        return context;
}

/* The name is this process's while the pool is made, and forgotten then. */
static void open_store(void) {
        char name[LEDGER_OBJECT_NAME_BYTES];
        snprintf(pool_settings.name, sizeof(pool_settings.name), "fuzz-%d", (int)getpid());
        fuzz_require(store_open(&pool_settings, true, &store) == 0);
        ledger_object_name((uint32_t)geteuid(), pool_settings.name, "lock", name);
        fuzz_require(shm_unlink(name) == 0);
        snprintf(store->settings.name, sizeof(store->settings.name), LIVE_POOL);
}

static void open_listener(void) {
        sa_family_t family = AF_UNIX;
        listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        fuzz_require(listen_fd >= 0);
        /* The kernel chooses a name in no file system. */
        fuzz_require(bind(listen_fd, (struct sockaddr *)&family, sizeof(family)) == 0);
        fuzz_require(listen(listen_fd, 64) == 0);
        address_bytes = sizeof(address);
        fuzz_require(getsockname(listen_fd, (struct sockaddr *)&address, &address_bytes) == 0);
}

void live_server_start(void) {
        pthread_t thread;
        log_set_level(LOG_CRIT);
        unsetenv("NOTIFY_SOCKET");
        unsetenv("WATCHDOG_USEC");
        quota_defaults(settings.limits);
        quota_defaults(pool_settings.limits);
        open_store();
        open_listener();
        fuzz_require(sem_init(&ready, 0, 0) == 0);
        fuzz_require(pthread_create(&thread, NULL, serve, NULL) == 0);
        pthread_detach(thread);
        while (sem_wait(&ready) != 0)
                ;
}

int live_server_connect(void) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        fuzz_require(fd >= 0);
        if (connect(fd, (struct sockaddr *)&address, address_bytes) == 0 &&
                fcntl(fd, F_SETFL, O_NONBLOCK) == 0)
                return fd;
        close(fd);
        return -1;
}
