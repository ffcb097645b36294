/* log: what the daemon and the tools tell the administrator.
 *
 * Goes to standard error, one line a message, with a syslog level prefix when
 * run by systemd so that the journal keeps the levels. Safe from any thread.
 * A function either returns an error or logs it; the lower layers return.
 */
#pragma once

#include <glib.h>

typedef enum {
    LOG_LEVEL_ERROR = 3,
    LOG_LEVEL_WARNING = 4,
    LOG_LEVEL_NOTICE = 5,
    LOG_LEVEL_INFO = 6,
    LOG_LEVEL_DEBUG = 7,
} LogLevel;

/* Messages above @level are dropped; LOG_LEVEL_NOTICE at start. */
void log_set_level(LogLevel level);

/* "error", "warning", "notice", "info" or "debug"; false when it is none of these. */
gboolean log_level_parse(const char *text, LogLevel *ret_level);

/**
 * log_message:
 * @area: the part of the program that speaks, such as "cycle"
 * @vm: name or UUID of the VM it is about, or NULL
 */
void log_message(LogLevel level, const char *area, const char *vm, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

#define log_error(area, vm, ...)   log_message(LOG_LEVEL_ERROR, area, vm, __VA_ARGS__)
#define log_warning(area, vm, ...) log_message(LOG_LEVEL_WARNING, area, vm, __VA_ARGS__)
#define log_notice(area, vm, ...)  log_message(LOG_LEVEL_NOTICE, area, vm, __VA_ARGS__)
#define log_info(area, vm, ...)    log_message(LOG_LEVEL_INFO, area, vm, __VA_ARGS__)
#define log_debug(area, vm, ...)   log_message(LOG_LEVEL_DEBUG, area, vm, __VA_ARGS__)
