/* New settings on their way to the replica: noted until it has them, and told again while it is away. */
#include "replication/primary-private.h"

#include "util/log.h"

#define TELL_AGAIN_USEC (15 * G_USEC_PER_SEC)

static char *
untold_key(const StoreRelationship *row)
{
    return g_strconcat(upstream_is_of(row) ? "extended-settings-untold:" : "settings-untold:", row->vm_uuid, NULL);
}

bool
primary_note_settings_untold(const ReplicationContext *context, const StoreRelationship *row, bool untold, GError **error)
{
    g_autofree char *key = untold_key(row);
    return store_value_set(context->store, key, untold ? "1" : NULL, error);
}

bool
primary_tell_settings(const ReplicationContext *context, const StoreRelationship *row, const RelationshipSettings *settings,
                      const gint *hurry, GError **error)
{
    LinkOffer offer = { 0 };
    LinkPosition position;
    g_auto(GStrv) targets = primary_sent_disks(context, row, settings, error);
    g_autoptr(LinkClient) client = targets != NULL ? primary_connect_peer(context, settings, hurry, error) : NULL;
    bool good = client != NULL && primary_fill_offer(context, row, targets, &offer, error) &&
                link_client_update(client, &offer, &position, error);
    link_offer_clear(&offer);
    return good && primary_note_settings_untold(context, row, false, error);
}

void
primary_retry_settings(Primary *self)
{
    int64_t now = g_get_monotonic_time();
    /* In a change of the disks that replicate, the offer of the new set tells them. */
    if (self->settings_told || now < self->tell_usec || relationship_state(self->relationship) == STATE_DISK_UPDATE)
        return;
    g_autoptr(GError) error = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(self->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(self->relationship);
    g_autofree char *key = untold_key(row), *untold = store_value(self->context->store, key, &error);
    if (error == NULL && (untold == NULL || untold[0] == '\0')) {
        self->settings_told = true;
        return;
    }
    self->tell_usec = now + TELL_AGAIN_USEC;
    self->settings_told = error == NULL &&
                          primary_tell_settings(self->context, row, settings, relationship_yield_flag(self->relationship), &error);
    if (self->settings_told)
        log_notice("cycle", row->vm_name, "the replica has the new settings");
    else if (!relationship_should_yield(self->relationship))
        log_warning("cycle", row->vm_name, "the replica does not have the new settings yet: %s; trying again", error->message);
}

void
primary_settings_changed(Primary *self)
{
    primary_drop_contact(self);
    self->settings_told = false;
    self->tell_usec = 0;
}
