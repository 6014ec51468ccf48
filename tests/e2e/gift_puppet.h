/* A receiver of gifts that is a process of its own and does what it is told: so it can be stopped, killed, and be another user's. It
 * keeps what it was given in the order in which that came. Call from the test's main thread. */
#pragma once

#include "harness.h"

#define PUPPET_RANGES 64 /* that it keeps at most */

struct gift_puppet {
        pid_t process;
        uint32_t id; /* of its client */
        int orders[2], answers[2];
};

/* With a cache, and as this user, where that is not 0. */
void puppet_start(struct gift_puppet *puppet, const struct scene *scene, uid_t uid);

/* It has been given this range, which bears the mark of its name, and keeps it. */
void puppet_told(struct gift_puppet *puppet, const struct buddyclient_range *range);
/* It returns all that it keeps, one by one, and tries to return each once more: 0, or the first result that was not to be. */
int puppet_release(struct gift_puppet *puppet);
/* It looks at the marks of what it keeps: 0, or -EUCLEAN. */
int puppet_look(struct gift_puppet *puppet);
/* It takes a range of so many bytes and keeps it. */
int puppet_take(struct gift_puppet *puppet, uint64_t length);

/* As a debugger would; returns when it stands. */
void puppet_stop(struct gift_puppet *puppet);
void puppet_go_on(struct gift_puppet *puppet);
/* It returns all it keeps, and ends. */
void puppet_end(struct gift_puppet *puppet);
