/* Memory for libuv, which ends the process where it cannot enlarge the table of what a loop watches. The loops here watch a few
 * descriptors that they open at the start, so one block set aside for each loop is enough to be sure of it: then it is a later step
 * of the start that is refused, and says why. */
#pragma once

/* Before the first loop is made; once. */
void loop_memory_set_aside(void);
