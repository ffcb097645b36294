/* values: the numbers and times of the API as words for a person, and a person's words as numbers and times. Stateless. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* Names of CIM values; "unknown (N)" is never needed: an unlisted number gives "unknown". */
const char *value_replication_state(uint64_t number);
const char *value_health(uint64_t number);
const char *value_mode(uint64_t number);
const char *value_point_kind(uint64_t number);  /* LastReplicationType, FailedOverReplicationType */
const char *value_power(uint64_t number);       /* EnabledState */
const char *value_job_state(uint64_t number);
const char *value_job_type(uint64_t number);
/* What a return code of Msvm_ReplicationService says, as the end of a sentence. */
const char *value_return_code(uint64_t code);
/* The words after the last ':' of VirtualSystemType of a recovery point: "standard", ... */
const char *value_point_type(const char *virtual_system_type);

/* @usec since 1970; 0 gives "never". */
char *value_time_local(int64_t usec); /* 2026-05-01 10:20:30 */
char *value_time_utc(int64_t usec);   /* 2026-05-01T10:20:30Z; NULL for 0 */
/* 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h */
char *value_duration(int64_t seconds);

/**
 * value_parse_time:
 * @text: 2026-05-01T10:20:30Z, with an offset, without one (local time), with a blank for the T, without seconds or time of day;
 *        "10:20[:30]" (today, local time); or "-90s", "-15m", "+2h", "-1d" (before or after @now_usec)
 */
bool value_parse_time(const char *text, int64_t now_usec, int64_t *ret_usec, GError **error);
/* A whole number of seconds with an optional s, m, h or d. */
bool value_parse_duration(const char *text, unsigned maximum_sec, unsigned *ret_sec, GError **error);
bool value_parse_number(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *ret_number, GError **error);
