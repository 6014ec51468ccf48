/* What one worker has another one do, as only that one may: goes from inbox to inbox. */
#pragma once

#include "list.h"

struct worker;

struct errand {
        struct link in_inbox; /* guarded by the inbox's lock while it is in there */
        void (*run)(struct errand *errand,
                struct worker *here);        /* on the thread of the worker it came to */
        void (*drop)(struct errand *errand); /* no worker runs any more: frees it */
};
