/* Which socket the daemon is looked for at. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

/* What a process knows about its surroundings; members may be NULL. */
struct socket_surroundings {
        const char *asked;       /* by the caller: goes before everything else */
        const char *environment; /* $BUDDYD_SOCKET */
        const char *runtime_dir; /* $XDG_RUNTIME_DIR */
        bool root;
};

/* The surroundings of this process. The strings live as long as the environment is not changed. */
struct socket_surroundings socket_surroundings_here(const char *asked);

/* Where to connect: asked, else the environment's, else the system's socket as root, else the
 * user's. -ENOENT: a user without a runtime folder; -EINVAL: too long for a socket address. */
int socket_path_find(const struct socket_surroundings *surroundings, struct sockaddr_un *out);
