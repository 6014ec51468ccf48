/* The cache of a client that has not come back yet. */
#pragma once

struct pool_session_identity;

/* Opens the memory of the session's cache, out of what its process has open. -1: there is none, or it cannot be seen. */
int cache_fetch(const struct pool_session_identity *identity);
