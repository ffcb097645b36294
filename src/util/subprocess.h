/* subprocess: runs a helper program to its end.
 *
 * No shell is involved. The child's standard error becomes part of the error
 * text. Blocks the calling thread; never call it with a lock of the service held.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/**
 * subprocess_run:
 * @argv: program (found in PATH) and arguments, NULL at the end
 * @timeout_sec: the child is killed after that long; 0 waits for ever
 * @ret_output: (out) (optional): standard output, owned by the caller
 *
 * Returns: true when the child exited with 0; else @error carries its last lines.
 */
bool subprocess_run(const char *const *argv, unsigned timeout_sec, char **ret_output, GError **error);

/* True when @pid lives and its command line contains @marker: guards against a reused process id. */
bool subprocess_is_ours(pid_t pid, const char *marker);
