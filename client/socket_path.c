/* The order in which the daemon's socket is looked for. Empty variables count as unset. */
#include "socket_path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKET_PATH_SYSTEM "/run/buddyd/buddyd.sock"
#define SOCKET_PATH_USER   "buddyd/buddyd.sock" /* below $XDG_RUNTIME_DIR */

struct socket_surroundings socket_surroundings_here(const char *asked) {
        return (struct socket_surroundings){
                .asked = asked,
                .environment = secure_getenv("BUDDYD_SOCKET"),
                .runtime_dir = secure_getenv("XDG_RUNTIME_DIR"),
                .root = geteuid() == 0,
        };
}

static bool is_set(const char *text) {
        return text && text[0] != '\0';
}

static const char *fixed_path(const struct socket_surroundings *surroundings) {
        if (is_set(surroundings->asked))
                return surroundings->asked;
        if (is_set(surroundings->environment))
                return surroundings->environment;
        return surroundings->root ? SOCKET_PATH_SYSTEM : NULL;
}

int socket_path_find(const struct socket_surroundings *surroundings, struct sockaddr_un *out) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        const char *fixed = fixed_path(surroundings);
        if (!fixed && !is_set(surroundings->runtime_dir))
                return -ENOENT;
        int length = fixed ? snprintf(address.sun_path, sizeof(address.sun_path), "%s", fixed)
                           : snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s",
                                     surroundings->runtime_dir, SOCKET_PATH_USER);
        if (length < 0 || (size_t)length >= sizeof(address.sun_path))
                return -EINVAL;
        *out = address;
        return 0;
}
