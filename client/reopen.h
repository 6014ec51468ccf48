/* The next connection of a client whose connection was lost. */
#pragma once

#include "channel.h"

struct buddyclient;

/* What the client's channel is kept by. */
struct channel_keeper reopen_keeper(struct buddyclient *client);
