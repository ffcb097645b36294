/* unique: random numbers that nobody can guess, for ids that are also a right of access. */
#pragma once

#include <glib.h>
#include <stdbool.h>

void unique_bytes(void *buffer, gsize length); /* at most 256 */
/* "uuid:" and a random UUID; @upper: in capitals */
char *unique_uri(bool upper);
