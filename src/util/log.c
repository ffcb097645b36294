#include "util/log.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static gint level_limit = LOG_LEVEL_NOTICE;

static const struct {
    const char *name;
    LogLevel level;
} level_names[] = {
    { "error", LOG_LEVEL_ERROR },   { "warning", LOG_LEVEL_WARNING }, { "notice", LOG_LEVEL_NOTICE },
    { "info", LOG_LEVEL_INFO },     { "debug", LOG_LEVEL_DEBUG },
};

void
log_set_level(LogLevel level)
{
    g_atomic_int_set(&level_limit, (gint)level);
}

gboolean
log_level_parse(const char *text, LogLevel *ret_level)
{
    for (size_t i = 0; i < G_N_ELEMENTS(level_names); i++) {
        if (g_ascii_strcasecmp(text, level_names[i].name) == 0) {
            *ret_level = level_names[i].level;
            return TRUE;
        }
    }
    return FALSE;
}

static const char *
level_name(LogLevel level)
{
    for (size_t i = 0; i < G_N_ELEMENTS(level_names); i++) {
        if (level_names[i].level == level)
            return level_names[i].name;
    }
    return "?";
}

void
log_message(LogLevel level, const char *area, const char *vm, const char *format, ...)
{
    if ((gint)level > g_atomic_int_get(&level_limit))
        return;

    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_strdelimit(text, "\r\n", ' ');

    GString *line = g_string_new(NULL);
    if (g_getenv("JOURNAL_STREAM") != NULL) {
        g_string_append_printf(line, "<%d>", (int)level);
    } else {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
        g_string_append_printf(line, "%s.%03dZ %s ", stamp, g_date_time_get_microsecond(now) / 1000,
                               level_name(level));
    }
    g_string_append_printf(line, "%s: ", area);
    if (vm != NULL)
        g_string_append_printf(line, "VM '%s': ", vm);
    g_string_append_printf(line, "%s\n", text);

    /* One write, so that lines of different threads do not mix. */
    ssize_t ignored = write(STDERR_FILENO, line->str, line->len);
    (void)ignored;
    g_string_free(line, TRUE);
}
