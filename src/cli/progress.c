#include "cli/progress.h"

#include "cli/output.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PLAIN_STEP_PERCENT 10 /* a plain line at most for each of these */
#define BAR_MIN            10
#define BAR_MAX            40

struct Progress {
    char    *title;
    bool     quiet, terminal;
    bool     shown;        /* something is on the line */
    unsigned last_percent; /* of the newest line */
};

Progress *
progress_new(const char *title, bool quiet)
{
    Progress *self = g_new0(Progress, 1);

    self->title = output_clean(title);
    self->quiet = quiet;
    self->terminal = isatty(STDERR_FILENO) != 0;
    return self;
}

void
progress_free(Progress *self)
{
    if (self == NULL)
        return;
    if (self->terminal && self->shown)
        fputc('\n', stderr);
    g_free(self->title);
    g_free(self);
}

char *
progress_line(const char *title, unsigned percent, unsigned columns)
{
    unsigned used = (unsigned)g_utf8_strlen(title, -1) + (unsigned)strlen("  [] 100 %");
    unsigned width = columns > used + BAR_MIN ? MIN(columns - used - 1, BAR_MAX) : BAR_MIN;
    unsigned filled = MIN(percent, 100) * width / 100;
    GString *line = g_string_new(title);

    g_string_append(line, "  [");
    for (unsigned i = 0; i < width; i++)
        g_string_append_c(line, i < filled ? '=' : ' ');
    g_string_append_printf(line, "] %3u %%", MIN(percent, 100));
    return g_string_free(line, FALSE);
}

static unsigned
terminal_columns(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void
progress_done(Progress *self)
{
    if (self->shown)
        progress_show(self, 100);
}

void
progress_show(Progress *self, unsigned percent)
{
    g_autofree char *line = NULL;

    if (self->quiet)
        return;
    if (self->terminal) {
        line = progress_line(self->title, percent, terminal_columns());
        fprintf(stderr, "\r%s", line);
        self->shown = true;
    } else if (!self->shown || percent >= self->last_percent + PLAIN_STEP_PERCENT) {
        fprintf(stderr, "%s: %u %%\n", self->title, percent);
        self->shown = true;
        self->last_percent = percent;
    }
    fflush(stderr);
}
