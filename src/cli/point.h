/* point: choosing a recovery point by what a person wrote. Pure. */
#pragma once

#include "cli/wsman-object.h"

/* The part of InstanceID that people use: what follows its last '\' or ':'. */
const char          *point_id(const WsmanInstance *point);
/* By id, InstanceID, or the beginning of an id that only one has. */
const WsmanInstance *point_find(const GPtrArray *points, const char *text, GError **error);
/* The newest one taken at @usec or before; @points oldest first. */
const WsmanInstance *point_find_at(const GPtrArray *points, int64_t usec, GError **error);
