/* One line per event that an operator acts on, to stderr with a priority: as "<N>text" when stderr
 * is the journal's stream, else as "buddyd: level: text". Any thread; a line is one write. */
#pragma once

#include <syslog.h>

/* Lines below this priority are dropped; LOG_INFO unless set. */
void log_set_level(int priority);

void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)
