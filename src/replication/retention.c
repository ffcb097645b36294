#include "replication/retention.h"

#include "replication/points.h"
#include "replication/settings.h"
#include "store/store.h"

#include <stdio.h>

/* In the store as "HISTORY JOURNAL_SEC UNTIL_USEC"; the last by the clock of points. */
typedef struct {
    unsigned history, journal_sec;
    int64_t  until_usec;
} Promise;

static char *
promise_key(const char *vm_uuid)
{
    return g_strconcat("retention:", vm_uuid, NULL);
}

/* All 0 when nothing is promised beyond the settings. */
static bool
load(const ReplicationContext *context, const char *vm_uuid, Promise *ret_promise, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autofree char *key = promise_key(vm_uuid), *text = store_value(context->store, key, &cause);
    Promise promise = { 0 };
    if (cause != NULL) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    if (text != NULL && text[0] != '\0') {
        if (sscanf(text, "%u %u %" G_GINT64_FORMAT, &promise.history, &promise.journal_sec, &promise.until_usec) != 3) {
            g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_FAILED,
                        "the state database has '%s' for '%s'; no recovery points are dropped", text, key);
            return false;
        }
        if (points_clock(context) >= promise.until_usec)
            promise = (Promise){ 0 };
    }
    *ret_promise = promise;
    return true;
}

bool
retention_hold(const ReplicationContext *context, const char *vm_uuid, const RelationshipSettings *before,
               const RelationshipSettings *after, GError **error)
{
    AdditionalSettings old, new;
    Promise promise;
    if (!additional_settings_parse(before->additional_settings, &old, error) ||
        !additional_settings_parse(after->additional_settings, &new, error) || !load(context, vm_uuid, &promise, error))
        return false;
    if (after->recovery_history >= before->recovery_history && new.journal_sec >= old.journal_sec)
        return true;
    /* The newest hourly point has the longest time before it. */
    int64_t hours_usec = before->recovery_history * INT64_C(3600) * G_USEC_PER_SEC;
    int64_t journal_usec = (int64_t)old.journal_sec * G_USEC_PER_SEC;
    promise.history = MAX(promise.history, before->recovery_history);
    promise.journal_sec = MAX(promise.journal_sec, old.journal_sec);
    promise.until_usec = MAX(promise.until_usec, points_clock(context) + MAX(hours_usec, journal_usec));
    g_autofree char *key = promise_key(vm_uuid);
    g_autofree char *text = g_strdup_printf("%u %u %" G_GINT64_FORMAT, promise.history, promise.journal_sec, promise.until_usec);
    return store_value_set(context->store, key, text, error);
}

bool
retention_raise(const ReplicationContext *context, const char *vm_uuid, RelationshipSettings *settings, GError **error)
{
    AdditionalSettings additional;
    Promise promise;
    if (!load(context, vm_uuid, &promise, error) || !additional_settings_parse(settings->additional_settings, &additional, error))
        return false;
    settings->recovery_history = MAX(settings->recovery_history, promise.history);
    if (promise.journal_sec > additional.journal_sec) {
        g_free(settings->additional_settings);
        settings->additional_settings = g_strdup_printf("journal=%u", promise.journal_sec);
    }
    return true;
}

bool
retention_forget(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autofree char *key = promise_key(vm_uuid);
    return store_value_set(context->store, key, NULL, error);
}
