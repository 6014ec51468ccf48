/* Serves metrics by HTTP over TCP, asking the daemon anew for each scrape, until SIGINT or SIGTERM. The daemon may come
 * and go meanwhile. */
#pragma once

#include "arguments.h"

/* address: "ADDRESS:PORT", "[IPV6]:PORT". Says why in one line if it cannot. */
enum exit_status metrics_bridge_run(const struct invocation *invocation, const char *address);
