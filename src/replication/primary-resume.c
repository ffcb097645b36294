/* Goes on with a log whose stream broke. Its moment is still held, and no byte is made a second time.
 *
 * The guest comes first: the moment costs scratch space, so a link that stays away is given up after a while, and the next
 * cycle sends the sum. */
#include "replication/primary-private.h"

#include "util/log.h"

#include <string.h>

#define PATIENCE_USEC   (30 * G_USEC_PER_SEC) /* for one break */
#define PAUSE_MIN_USEC  (G_USEC_PER_SEC / 10)
#define PAUSE_MAX_USEC  (2 * G_USEC_PER_SEC)
#define BREAKS_MAX      64 /* of one log: a link that breaks that often brings no log to its end */

Patience
primary_patience(void)
{
    return (Patience){ .stop_usec = g_get_monotonic_time() + PATIENCE_USEC, .pause_usec = PAUSE_MIN_USEC };
}

bool
primary_wait_for_link(Primary *self, Moment *moment, Patience *patience)
{
    int64_t end = g_get_monotonic_time() + patience->pause_usec;
    patience->pause_usec = MIN(2 * patience->pause_usec, PAUSE_MAX_USEC);
    while (g_get_monotonic_time() < end) {
        if (relationship_should_yield(self->relationship))
            return false;
        g_usleep(PAUSE_MIN_USEC);
    }
    return end < patience->stop_usec && moment_check(moment, NULL);
}

typedef enum { TRY_GOOD, TRY_AGAIN, TRY_NO_MORE } TryResult;

/* Passes @cause on. A connection that breaks while TLS is agreed looks like one that is not trusted. */
static TryResult
try_failed(GError *cause, GError **error)
{
    bool link = g_error_matches(cause, LINK_ERROR, LINK_ERROR_UNREACHABLE) ||
                g_error_matches(cause, LINK_ERROR, LINK_ERROR_TRUST);
    g_propagate_error(error, cause);
    return link ? TRY_AGAIN : TRY_NO_MORE;
}

static TryResult
try_to_resume(Sending *sending, GError **error)
{
    LinkPosition at;
    GError *cause = NULL;
    Primary *self = sending->primary;
    if (!link_client_position(self->client, relationship_vm(self->relationship), false, &at, &cause))
        return try_failed(cause, error);
    if (at.receiving)
        return TRY_AGAIN;
    if (sending->ended && at.position == sending->position &&
        memcmp(at.digest, sending->digest, sizeof at.digest) == 0) {
        sending->arrived = true;
        sending->answer = at;
        return TRY_GOOD;
    }
    if (at.position != sending->base)
        return TRY_NO_MORE;
    uint64_t offset = strcmp(at.partial_id, link_upload_id(sending->upload)) == 0 ? at.partial_bytes : 0;
    if (!link_upload_resume(sending->upload, offset, &cause))
        return try_failed(cause, error);
    log_info("cycle", relationship_vm(self->relationship),
             "the log goes on at byte %" G_GUINT64_FORMAT ", record %" G_GUINT64_FORMAT, offset,
             offset > 0 ? at.partial_records : 0);
    return TRY_GOOD;
}

bool
primary_sending_resume(Sending *sending, GError *cause, GError **error)
{
    Primary *self = sending->primary;
    Patience patience = primary_patience();
    TryResult result = TRY_AGAIN;
    if (!g_error_matches(cause, LINK_ERROR, LINK_ERROR_UNREACHABLE) || ++sending->breaks > BREAKS_MAX)
        result = TRY_NO_MORE;
    else
        log_info("cycle", relationship_vm(self->relationship), "%s; waiting to go on with the log", cause->message);
    while (result == TRY_AGAIN && primary_wait_for_link(self, sending->moment, &patience)) {
        g_autoptr(GError) attempt = NULL;
        result = try_to_resume(sending, &attempt);
        if (result != TRY_GOOD && attempt != NULL)
            log_debug("cycle", relationship_vm(self->relationship), "not yet: %s", attempt->message);
    }
    if (result == TRY_GOOD) {
        g_error_free(cause);
        return true;
    }
    sending->lost = true;
    g_propagate_error(error, cause);
    return false;
}
