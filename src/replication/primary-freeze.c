/* Application-consistent points: when one is due, and what comes of it. */
#include "replication/primary-private.h"

#include "replication/settings.h"
#include "util/log.h"

#define RETRY_USEC (600 * G_USEC_PER_SEC) /* after a failure, unless the points come more often */

bool
primary_wants_freeze(Primary *self, const StoreRelationship *row)
{
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    int64_t interval = (int64_t)relationship_settings_consistent_interval(settings) * G_USEC_PER_SEC;
    int64_t now = g_get_monotonic_time(), since = g_get_real_time() - row->last_application_consistent_usec;
    if (interval == 0 || (self->froze_usec != 0 && now - self->froze_usec < MIN(interval, RETRY_USEC)))
        return false;
    return since >= interval || since < 0; /* below 0: the clock was set back */
}

static void
note_failure(Primary *self, const GError *cause)
{
    tally_consistent_failure(relationship_tally(self->relationship));
    if (relationship_set_consistent_error(self->relationship, cause->message))
        log_warning("cycle", relationship_vm(self->relationship),
                    "no application-consistent point: %s; continuing with crash-consistent ones", cause->message);
}

PointKind
primary_point_kind(Primary *self, const Moment *moment)
{
    int64_t frozen_usec = 0;
    const GError *cause = NULL;
    bool consistent = moment_is_consistent(moment, &frozen_usec, &cause);
    if (!consistent && cause == NULL) /* a VM that is off has nothing to freeze */
        return POINT_KIND_STANDARD;
    self->froze_usec = g_get_monotonic_time();
    if (!consistent) {
        note_failure(self, cause);
        return POINT_KIND_STANDARD;
    }
    relationship_set_consistent_error(self->relationship, NULL);
    log_info("cycle", relationship_vm(self->relationship), "application-consistent, the guest stood still for %" G_GINT64_FORMAT " ms",
             frozen_usec / 1000);
    return POINT_KIND_APPLICATION_CONSISTENT;
}
