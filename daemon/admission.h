/* Who may use a pool, and how: by uid, and by the groups that the kernel knew of the process when it connected. */
#pragma once

#include <stdint.h>

#include "peer.h"
#include "settings.h"

enum admission {
        ADMISSION_NONE,
        ADMISSION_READ_ONLY,
        ADMISSION_READ_WRITE,
};

/* What a peer may at most. Root and the daemon's own user may everything. socket_fd is its connection. */
enum admission admission_of(
        const struct admission_settings *settings, const struct peer *peer, int socket_fd);
