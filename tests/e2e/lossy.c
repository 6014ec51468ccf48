#include "lossy.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_MAX 8

static int unix_socket(const char *path, struct sockaddr_un *address) {
        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        cr_assert_lt(strlen(path), sizeof address->sun_path);
        memcpy(address->sun_path, path, strlen(path) + 1);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(fd >= 0);
        return fd;
}

void lossy_open(struct lossy *lossy, struct scene *scene, const char *size) {
        struct sockaddr_un address;
        *lossy = (struct lossy){.scene = scene, .size = size, .client = -1, .daemon = -1};
        snprintf(lossy->path, sizeof lossy->path, "%s/lossy", scene->folder);
        lossy->listener = unix_socket(lossy->path, &address);
        cr_assert_eq(bind(lossy->listener, (struct sockaddr *)&address, sizeof address), 0);
        cr_assert_eq(listen(lossy->listener, 8), 0);
}

static void hang_up(struct lossy *lossy) {
        if (lossy->client >= 0)
                close(lossy->client);
        if (lossy->daemon >= 0)
                close(lossy->daemon);
        lossy->client = lossy->daemon = -1;
}

void lossy_close(struct lossy *lossy) {
        hang_up(lossy);
        close(lossy->listener);
        unlink(lossy->path);
}

static void crash(struct lossy *lossy) {
        lossy->crashes++;
        lossy->next++;
        scene_kill(lossy->scene);
        scene_start(lossy->scene, "--size", lossy->size, NULL);
        if (lossy->absent)
                lossy->absent(lossy->context);
        hang_up(lossy);
}

static void take_up(struct lossy *lossy) {
        struct sockaddr_un address;
        hang_up(lossy);
        lossy->client = accept4(lossy->listener, NULL, NULL, SOCK_CLOEXEC);
        cr_assert(lossy->client >= 0);
        lossy->daemon = unix_socket(lossy->scene->socket, &address);
        cr_assert_eq(connect(lossy->daemon, (struct sockaddr *)&address, sizeof address), 0);
}

/* False at the end. */
static bool pass(int from, int to) {
        char bytes[65536], control[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct iovec part = {bytes, sizeof bytes};
        struct msghdr message = {.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = control,
                .msg_controllen = sizeof control};
        ssize_t length = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
        if (length <= 0)
                return false;
        part.iov_len = (size_t)length;
        if (message.msg_controllen == 0)
                message.msg_control = NULL;
        bool passed = sendmsg(to, &message, MSG_NOSIGNAL) == length;
        for (struct cmsghdr *each = CMSG_FIRSTHDR(&message); each;
                each = CMSG_NXTHDR(&message, each))
                for (size_t at = CMSG_LEN(0); at < each->cmsg_len; at += sizeof(int)) {
                        int fd;
                        memcpy(&fd, (char *)each + at, sizeof fd);
                        close(fd);
                }
        return passed;
}

/* What the client said. */
static void pass_request(struct lossy *lossy) {
        if (lossy->request) {
                lossy->request = false;
                crash(lossy);
        } else if (!pass(lossy->client, lossy->daemon)) {
                hang_up(lossy);
        }
}

static void pass_reply(struct lossy *lossy) {
        bool armed = lossy->next < 3 && lossy->losses[lossy->next] > 0;
        if (armed && --lossy->losses[lossy->next] == 0)
                crash(lossy);
        else if (!pass(lossy->daemon, lossy->client))
                hang_up(lossy);
}

struct job {
        void (*function)(void *);
        void *argument;
        int done;
};

static void *job_run(void *argument) {
        struct job *job = argument;
        job->function(job->argument);
        close(job->done);
        return NULL;
}

void lossy_run(struct lossy *lossy, void (*function)(void *), void *argument) {
        int ends[2];
        pthread_t thread;
        cr_assert_eq(pipe(ends), 0);
        struct job job = {function, argument, ends[1]};
        cr_assert_eq(pthread_create(&thread, NULL, job_run, &job), 0);
        uint64_t deadline = now_ms() + 2 * PATIENCE_MS;
        for (bool done = false; !done;) {
                struct pollfd wait[] = {{ends[0], POLLIN, 0}, {lossy->listener, POLLIN, 0},
                        {lossy->client, POLLIN, 0}, {lossy->daemon, POLLIN, 0}};
                cr_assert_lt(now_ms(), deadline, "a call does not return");
                if (poll(wait, 4, 1000) <= 0)
                        continue;
                if (wait[3].revents)
                        pass_reply(lossy);
                else if (wait[2].revents)
                        pass_request(lossy);
                else if (wait[1].revents)
                        take_up(lossy);
                else
                        done = wait[0].revents != 0;
        }
        pthread_join(thread, NULL);
        close(ends[0]);
}
