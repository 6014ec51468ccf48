/* Sessions that a predecessor of this daemon left: those whose process has died are returned, those
 * whose process lives keep what they hold, and its end is watched. */
#pragma once

struct serving;

/* Looks through all pools before the workers run. What dead ones held has been returned when this
 * returns. 0 or -ENOMEM. */
int orphans_adopt(struct serving *serving);

/* Stops watching; on worker 0 when it ends, or before it ran. */
void orphans_forget(struct serving *serving);
