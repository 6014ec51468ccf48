/* Page marks: the first and the last 8 bytes of every page say by which grant it is held.
 *
 * A serial number belongs to one grant by one thread of one process, so it stands for the holder and the generation; the last word mixes the page's
 * place into it. Only who was granted a range marks it; all its holders may check it, until the last hold goes. If a page is granted
 * while somebody holds it, the next check of that holder finds another serial. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client/buddyclient.h"

void marks_write(
        struct buddyclient *client, const struct buddyclient_range *range, uint64_t serial);

/* The serial of the range's first page. */
uint64_t marks_serial(struct buddyclient *client, const struct buddyclient_range *range);

/* False where a page differs; bad_page gets the first such page, and found what its first word is. */
bool marks_hold(struct buddyclient *client, const struct buddyclient_range *range, uint64_t serial,
        uint64_t *bad_page, uint64_t *found);
