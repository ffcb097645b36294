/* settings: a relationship's settings as text between hosts and in the store, and their checking.
 *
 * Stateless.
 */
#pragma once

#include "replication/service.h"

/* What AdditionalSettings says. */
typedef struct {
    unsigned interval_sec;  /* 0: ReplicationInterval counts */
    unsigned journal_sec;   /* every cycle of that long is kept as a recovery point; 0: none */
    unsigned consistent_sec; /* from one application-consistent point to the next; 0: ApplicationConsistentSnapshotInterval counts */
} AdditionalSettings;

/* "interval=1;journal=4h;consistent=30m": keys with values, apart by ';'. Durations are numbers with an optional s, m or h. NULL or "": all 0. */
bool additional_settings_parse(const char *text, AdditionalSettings *ret_additional, GError **error);

/* Checks every writable value; REPLICATION_ERROR_INVALID_PARAMETER names the property and its range. */
bool relationship_settings_check(const RelationshipSettings *settings, GError **error);

/* May a resynchronization start by itself at @time_of_day_sec, local time? The hours may reach over midnight; start and end being equal
 * means the whole day. */
bool relationship_settings_may_resynchronize(const RelationshipSettings *settings, unsigned time_of_day_sec);

/* Seconds from one cycle to the next. */
unsigned relationship_settings_interval(const RelationshipSettings *settings);

/* Seconds from one application-consistent point to the next; 0: none are wanted, or none would be kept. */
unsigned relationship_settings_consistent_interval(const RelationshipSettings *settings);

char                 *relationship_settings_to_json(const RelationshipSettings *settings);
/* Unknown members are ignored, missing ones keep their defaults; NULL on malformed text. */
RelationshipSettings *relationship_settings_from_json(const char *json, GError **error);
