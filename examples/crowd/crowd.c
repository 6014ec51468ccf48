/* crowd SOCKET POOL [--still]: four clients of different kinds that take and return ranges of a pool of 128 MiB or more, so that there
 * is something to see with "buddyctl map" and "buddyctl top". With --still they hold what they have once they have settled, and the same in
 * each run. Says "ready" then, and ends when its standard input does, or by a signal. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <buddyclient.h>

#define PAGE       4096u
#define RANGES_MAX 1200u
#define SETTLED    6u /* so many times as many steps as ranges */

struct kind {
        const char *name;
        unsigned ranges; /* that it has at most */
        unsigned smallest,
                sizes; /* the smallest is 2^smallest pages, and there are so many powers of two from there */
        uint64_t cache_bytes;
};

static const struct kind kinds[] = {
        {"model", 6, 10, 3, 0},
        {"frames", 60, 5, 5, 0},
        {"features", 240, 2, 5, 0},
        {"messages", 1200, 0, 3, 4u << 20},
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

struct member {
        const struct kind *kind;
        struct buddyclient *client;
        struct buddyclient_range ranges[RANGES_MAX];
        bool held[RANGES_MAX];
        unsigned random;
};

static unsigned member_random(struct member *member, unsigned below) {
        member->random = member->random * 1103515245u + 12345u;
        return (member->random >> 12) % below;
}

/* Returns a range, or takes one, of a length that is not a power of two. */
static void member_step(struct member *member) {
        unsigned which = member_random(member, member->kind->ranges);
        unsigned size = member->kind->smallest + member_random(member, member->kind->sizes);
        uint64_t length = (uint64_t)PAGE << size;
        if (member->held[which])
                member->held[which] =
                        buddyclient_release(member->client, &member->ranges[which]) != 0;
        else
                member->held[which] = buddyclient_alloc(member->client, length - length / 5,
                                              &member->ranges[which]) == 0;
}

static int member_connect(struct member *member, const char *socket, const char *pool) {
        int error = buddyclient_new(&member->client);
        if (error == 0)
                error = buddyclient_set_socket(member->client, socket);
        if (error == 0)
                error = buddyclient_set_pool(member->client, pool);
        if (error == 0)
                error = buddyclient_set_name(member->client, member->kind->name);
        if (error == 0)
                error = buddyclient_set_cache_bytes(member->client, member->kind->cache_bytes);
        if (error == 0)
                error = buddyclient_connect(member->client);
        if (error != 0)
                fprintf(stderr, "crowd: %s: %s: %s\n", member->kind->name,
                        buddyclient_strerror(error), buddyclient_detail(member->client));
        return error;
}

/* One client's process; settled gets a byte when it has. */
static int member_run(const struct kind *kind, char **arguments, bool still, int settled) {
        static struct member member;
        member.kind = kind;
        member.random = (unsigned)(kind - kinds) + 1;
        if (member_connect(&member, arguments[0], arguments[1]) != 0)
                return 1;
        for (unsigned i = 0; i < SETTLED * kind->ranges; i++)
                member_step(&member);
        if (write(settled, "", 1) != 1)
                return 1;
        while (still)
                pause();
        for (;;) {
                member_step(&member);
                usleep(1000u * RANGES_MAX / kind->ranges);
        }
}

/* One after the other, so that each run of it is the same. */
static bool crowd_start(char **arguments, bool still) {
        for (size_t i = 0; i < KINDS; i++) {
                int settled[2];
                char byte;
                if (pipe(settled) != 0)
                        return false;
                pid_t child = fork();
                if (child == 0) {
                        prctl(PR_SET_PDEATHSIG, SIGKILL);
                        close(settled[0]);
                        _exit(member_run(&kinds[i], arguments, still, settled[1]));
                }
                close(settled[1]);
                bool ready = child > 0 && read(settled[0], &byte, 1) == 1;
                close(settled[0]);
                if (!ready)
                        return false;
        }
        return true;
}

int main(int argc, char **argv) {
        bool still = argc == 4 && strcmp(argv[3], "--still") == 0;
        if (argc != 3 && !still) {
                fprintf(stderr, "usage: crowd SOCKET POOL [--still]\n");
                return 2;
        }
        if (!crowd_start(argv + 1, still))
                return 1;
        puts("ready");
        fflush(stdout);
        while (getchar() != EOF)
                continue;
        return 0;
}
