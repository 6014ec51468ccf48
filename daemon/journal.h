/* The journal as where lines go: with the fields that sd_journal_send(3) takes. */
#pragma once

#include <stdbool.h>

#include "log.h"

/* stderr is the journal's stream. */
bool journal_is_stderr(void);

struct journal_entry {
        int priority;
        const char *message;
        const char *id;                  /* MESSAGE_ID=, or NULL */
        const struct log_subject *about; /* or NULL */
};

/* 0, or -errno: it did not get there. */
int journal_send(const struct journal_entry *entry);
