/* progress: how far a job is, on standard error: one line that is drawn again on a terminal, plain lines elsewhere.
 *
 * Prints nothing when quiet. One thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct Progress Progress;

Progress *progress_new(const char *title, bool quiet);
void      progress_show(Progress *self, unsigned percent);
/* The work is done: what is shown already becomes 100 %; work that was done at once shows nothing. */
void      progress_done(Progress *self);
/* Ends the line on a terminal; whoever speaks next starts a new one. */
void      progress_free(Progress *self);

/* The line for a terminal of @columns, without line end. */
char     *progress_line(const char *title, unsigned percent, unsigned columns);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Progress, progress_free)
