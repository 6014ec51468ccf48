/* Starts the real daemon the way a service manager does: systemd-socket-activate listens and starts it at
 * the first connection, a notify socket hears READY=1 and STOPPING=1. Arguments: the paths of
 * systemd-socket-activate and of buddyd. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_MS 20000

static char folder[] = "/tmp/buddyd-activation-XXXXXX";
static char pool_name[32];
static pid_t daemon_pid;

static void finish(int status) {
        if (daemon_pid > 0) {
                kill(daemon_pid, SIGKILL);
                waitpid(daemon_pid, NULL, 0);
        }
        char path[128];
        snprintf(path, sizeof(path), "%s/s", folder);
        unlink(path);
        snprintf(path, sizeof(path), "%s/notify", folder);
        unlink(path);
        rmdir(folder);
        exit(status);
}

static void require(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "failed: %s (errno: %s)\n", what, strerror(errno));
        finish(1);
}

static struct sockaddr_un address_of(const char *name) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", folder, name);
        return address;
}

static int notify_socket(void) {
        struct sockaddr_un address = address_of("notify");
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        require(fd >= 0 && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0,
                "notify socket");
        return fd;
}

/* Waits until a message has this line. */
static void await_message(int fd, const char *line) {
        for (;;) {
                struct pollfd wait = {.fd = fd, .events = POLLIN};
                require(poll(&wait, 1, DEADLINE_MS) == 1, line);
                char message[4096];
                ssize_t length = recv(fd, message, sizeof(message) - 1, 0);
                require(length >= 0, "message");
                message[length] = '\0';
                printf("notified: %s\n", message);
                for (char *at = strtok(message, "\n"); at; at = strtok(NULL, "\n")) {
                        if (strcmp(at, line) == 0)
                                return;
                }
        }
}

static void start(const char *activate, const char *buddyd) {
        struct sockaddr_un listen = address_of("s"), notify = address_of("notify");
        char environment[160];
        snprintf(environment, sizeof(environment), "NOTIFY_SOCKET=%s", notify.sun_path);
        daemon_pid = fork();
        if (daemon_pid == 0) {
                execl(activate, activate, "-l", listen.sun_path, "-E", environment, buddyd,
                        "--pool", pool_name, "--size", "1M", "--socket", "/nonexistent/ignored",
                        NULL);
                _exit(127);
        }
        require(daemon_pid > 0, "fork");
}

/* Nothing tells when the activator listens, so this one condition is polled. */
static int connect_until_deadline(void) {
        struct sockaddr_un address = address_of("s");
        for (int waited_ms = 0; waited_ms < DEADLINE_MS; waited_ms += 10) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
                        return fd;
                close(fd);
                nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
        require(false, "connect");
        return -1;
}

/* Pings, each with a descriptor, on a connection that the kernel made before the daemon could ask it to refuse
 * those. A receive stops at every one of them, and all have come before the first. */
static void send_parcels(int client, int count) {
        for (int id = 1; id <= count; id++) {
                uint8_t ping[] = {4, 0, 0, 0, 0x08, (uint8_t)id, 0x5a, 0};
                union {
                        struct cmsghdr header;
                        char bytes[CMSG_SPACE(sizeof(int))];
                } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)),
                                     .cmsg_level = SOL_SOCKET,
                                     .cmsg_type = SCM_RIGHTS}};
                memcpy(CMSG_DATA(&control.header), &client, sizeof(int));
                struct iovec part = {ping, sizeof(ping)};
                struct msghdr message = {.msg_iov = &part,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof(control)};
                require(sendmsg(client, &message, MSG_NOSIGNAL) == sizeof(ping), "parcel");
        }
}

static void await_replies(int client, int count) {
        for (int id = 1; id <= count; id++) {
                const uint8_t done[] = {4, 0, 0, 0, 0x08, (uint8_t)id, 0x1a, 0};
                uint8_t reply[sizeof(done)];
                struct pollfd wait = {.fd = client, .events = POLLIN};
                require(poll(&wait, 1, DEADLINE_MS) == 1, "a reply to every parcel");
                require(recv(client, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply), "reply");
                require(memcmp(reply, done, sizeof(done)) == 0, "done");
        }
}

static bool objects_left(void) {
        DIR *objects = opendir("/dev/shm");
        require(objects != NULL, "/dev/shm");
        bool found = false;
        for (const struct dirent *entry; (entry = readdir(objects));)
                found |= strstr(entry->d_name, pool_name) != NULL;
        closedir(objects);
        return found;
}

int main(int argc, char **argv) {
        if (argc != 3)
                return 2;
        require(mkdtemp(folder) != NULL, "temporary folder");
        snprintf(pool_name, sizeof(pool_name), "activation-%d", (int)getpid());
        int notify = notify_socket();
        start(argv[1], argv[2]);

        int client = connect_until_deadline();
        send_parcels(client, 3);
        await_message(notify, "READY=1");
        await_replies(client, 3);
        int second = connect_until_deadline();
        require(objects_left(), "the pool is there");

        kill(daemon_pid, SIGTERM);
        await_message(notify, "STOPPING=1");
        int status;
        require(waitpid(daemon_pid, &status, 0) == daemon_pid, "wait");
        daemon_pid = 0;
        require(WIFEXITED(status) && WEXITSTATUS(status) == 0, "exit status 0 after SIGTERM");

        struct sockaddr_un address = address_of("s");
        struct stat stat;
        require(lstat(address.sun_path, &stat) == 0,
                "the socket file is the service manager's and stays");
        require(!objects_left(), "nothing is left in /dev/shm");
        close(client);
        close(second);
        close(notify);
        finish(0);
}
