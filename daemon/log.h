/* One line per event that an operator acts on, with a priority. To the journal with its fields when stderr is the
 * journal's stream (as "<N>text" where its socket cannot be reached), else to stderr as "buddyd: level: text". Any thread;
 * a line is one write. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#include "log_events.h"

enum log_event {
#define LOG_EVENT_NUMBER(name, priority, id) LOG_EVENT_##name,
        LOG_EVENTS(LOG_EVENT_NUMBER)
#undef LOG_EVENT_NUMBER
};

/* What a line is about, for the fields of the journal; NULL and 0 say nothing. */
struct log_subject {
        const char *pool;        /* BUDDYD_POOL= */
        const char *client_name; /* BUDDYD_CLIENT_NAME= */
        uint32_t client;         /* BUDDYD_CLIENT= */
        bool has_process;
        uint32_t pid, uid; /* BUDDYD_PID=, BUDDYD_UID= */
        bool has_holdings;
        uint64_t ranges, bytes; /* BUDDYD_RANGES=, BUDDYD_BYTES= */
};

/* Lines below this priority are dropped; LOG_INFO unless set. */
void log_set_level(int priority);

/* about may be NULL. */
void log_event(enum log_event event, const struct log_subject *about, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* A line of no particular kind. */
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_event(LOG_EVENT_FAILURE, NULL, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

/* A pool that cannot be served. */
#define log_pool_error(pool_name, ...)                                                             \
        log_event(LOG_EVENT_POOL_REFUSED, &(struct log_subject){.pool = (pool_name)}, __VA_ARGS__)
