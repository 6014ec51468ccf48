/* Somebody whom a bad peer must not disturb: a client that holds a range with known bytes, and the daemon's descriptors,
 * counted before the bad peer came. */
#pragma once

#include "wire.h"

struct bystander {
        struct scene scene;
        struct buddyclient *client;
        struct buddyclient_range range;
        size_t fds;
};

void bystander_open(struct bystander *by);

/* A request of the bystander's must be served without delay. */
void bystander_works(struct bystander *by);

/* Nothing has changed for the bystander, all that others held is back, and the daemon ends cleanly. */
void bystander_close(struct bystander *by);

/* The daemon comes down to this many descriptors. */
void await_fds(const struct scene *scene, size_t count);
struct request alloc_request(uint64_t length, uint32_t count);
