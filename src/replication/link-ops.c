/* What peers may ask of this host, and what they may not: authorization entries, the binding of relationships, offers. */
#include "replication/service-private.h"

#include "replication/entry-limits.h"
#include "replication/replica-folder.h"
#include "replication/replica-making.h"
#include "replication/retention.h"
#include "replication/settings.h"
#include "util/log.h"

#include <string.h>

#define NAME_MAX_BYTES 200          /* of a VM, so that " - Test" and file names made of it fit */

#define deny service_deny_peer

bool
service_deny_peer(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, LINK_ERROR, LINK_ERROR_DENIED, text);
    return false;
}

/* ---- entries ---- */

/* 3 exact, 2 wildcard for the first label, 1 anybody, 0 none. */
static int
match_quality(const char *pattern, const char *name)
{
    if (g_ascii_strcasecmp(pattern, name) == 0)
        return 3;
    if (strcmp(pattern, "*") == 0)
        return 1;
    const char *dot = strchr(name, '.');
    if (g_str_has_prefix(pattern, "*.") && dot != NULL && dot != name && g_ascii_strcasecmp(pattern + 1, dot) == 0)
        return 2;
    return 0;
}

static AuthorizationEntry *
find_entry(ReplicationService *self, const LinkPeer *peer)
{
    g_autoptr(GPtrArray) entries = replication_service_entries(self);
    int best = 0;
    guint best_index = 0;
    for (guint i = 0; i < entries->len; i++) {
        const AuthorizationEntry *entry = g_ptr_array_index(entries, i);
        for (const char *const *name = peer->names; name != NULL && *name != NULL; name++) {
            int quality = match_quality(entry->allowed_primary, *name);
            if (quality > best) {
                best = quality;
                best_index = i;
            }
        }
    }
    if (best == 0)
        return NULL;
    g_ptr_array_set_free_func(entries, NULL);
    AuthorizationEntry *found = g_ptr_array_index(entries, best_index);
    for (guint i = 0; i < entries->len; i++) {
        if (i != best_index)
            authorization_entry_free(g_ptr_array_index(entries, i));
    }
    return found;
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(AuthorizationEntry, authorization_entry_free)

static AuthorizationEntry *
authorize(ReplicationService *self, const LinkPeer *peer, GError **error)
{
    AuthorizationEntry *entry = find_entry(self, peer);
    if (entry == NULL)
        deny(error, "host '%s' has no authorization entry on '%s'; add one there with 'virt-replica authorize'",
             peer->names != NULL && peer->names[0] != NULL ? peer->names[0] : "without a name", self->context.host_name);
    return entry;
}

/* Is the relationship bound to this entry, or to another of its trust group? */
static bool
is_bound(ReplicationService *self, const StoreRelationship *row, const AuthorizationEntry *entry)
{
    if (g_ascii_strcasecmp(row->peer != NULL ? row->peer : "", entry->allowed_primary) == 0)
        return true;
    if (row->peer == NULL || entry->trust_group == NULL || entry->trust_group[0] == '\0')
        return false;
    g_autoptr(GPtrArray) entries = replication_service_entries(self);
    for (guint i = 0; i < entries->len; i++) {
        const AuthorizationEntry *other = g_ptr_array_index(entries, i);
        if (g_ascii_strcasecmp(other->allowed_primary, row->peer) == 0)
            return g_strcmp0(other->trust_group, entry->trust_group) == 0;
    }
    return false;
}

/* The replica that this peer may touch. The same words whether it is not there or not the peer's. */
static Member *
find_bound(ReplicationService *self, const LinkPeer *peer, const char *vm_uuid, GError **error)
{
    g_autoptr(AuthorizationEntry) entry = authorize(self, peer, error);
    if (entry == NULL)
        return NULL;
    g_autoptr(Member) member = service_find_member(self, vm_uuid);
    if (member != NULL && member->replica != NULL) {
        g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
        if (is_bound(self, row, entry) && !replica_is_awaited(row))
            return g_steal_pointer(&member);
    }
    deny(error, "there is no replica of VM %s here that belongs to you", vm_uuid);
    return NULL;
}

/* What was the replica of this peer's VM and went on as the primary of a third host; (transfer full)(nullable) */
static Member *
find_former(ReplicationService *self, const LinkPeer *peer, const char *vm_uuid)
{
    g_autoptr(AuthorizationEntry) entry = authorize(self, peer, NULL);
    g_autoptr(Member) member = entry != NULL ? service_find_member(self, vm_uuid) : NULL;
    if (member == NULL || member->primary == NULL)
        return NULL;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    return row->peer != NULL && is_bound(self, row, entry) ? g_steal_pointer(&member) : NULL;
}

/* For the peer that is a failover which was committed. */
static bool
tell_former(Member *member, bool vm_runs, LinkPosition *ret_position)
{
    g_autoptr(VirtDomain) domain = virt_host_find(member->service->context.virt, relationship_vm(member->relationship), NULL);
    *ret_position = (LinkPosition){ .state = STATE_COMMITTED, .initial_complete = true,
                                    .vm_runs = domain != NULL && domain->state != VIRT_OFF && domain->state != VIRT_CRASHED &&
                                               domain->state != VIRT_SAVED };
    relationship_set_runs_at_former(member->relationship, vm_runs && ret_position->vm_runs);
    return true;
}

/* ---- the operations ---- */

static bool
op_hello(void *opaque, const LinkPeer *peer, char **ret_host, GError **error)
{
    ReplicationService *self = opaque;
    g_autoptr(AuthorizationEntry) entry = authorize(self, peer, error);
    if (entry == NULL)
        return false;
    *ret_host = g_strdup(self->context.host_name);
    return true;
}

static bool
op_position(void *opaque, const LinkPeer *peer, const char *vm_uuid, bool vm_runs, LinkPosition *ret_position, GError **error)
{
    g_autoptr(Member) former = find_former(opaque, peer, vm_uuid);
    if (former != NULL)
        return tell_former(former, vm_runs, ret_position);
    g_autoptr(Member) member = find_bound(opaque, peer, vm_uuid, error);
    if (member == NULL)
        return false;
    tally_heard(relationship_tally(member->relationship));
    replica_position(member->replica, ret_position);
    ret_position->vm_runs = service_runs_failed_over(member);
    relationship_set_runs_twice(member->relationship, vm_runs && ret_position->vm_runs);
    return true;
}

/* The VM may run over there from now on, so what was received last is no planned failover's any more. By the operation that bars a failover. */
static bool
take_kept_role(Member *member, GError **error)
{
    StoreRelationship *row = relationship_edit(member->relationship);
    bool away = row->state == STATE_FAILOVER_RUNNING || row->failed_over_kind != POINT_KIND_NONE;
    if (!away) {
        row->last_kind = row->last_kind == POINT_KIND_PLANNED ? POINT_KIND_STANDARD : row->last_kind;
        return relationship_edit_end(member->relationship, row, error);
    }
    g_set_error(error, LINK_ERROR, LINK_ERROR_STATE, "VM '%s' is failed over on '%s'; revert that first, or reverse the replication there",
                row->vm_name, member->service->context.host_name);
    relationship_edit_cancel(member->relationship, row);
    return false;
}

static bool
op_keep_role(void *opaque, const LinkPeer *peer, const char *vm_uuid, LinkPosition *ret_position, GError **error)
{
    g_autoptr(Member) former = find_former(opaque, peer, vm_uuid);
    if (former != NULL) {
        g_set_error_literal(error, LINK_ERROR, LINK_ERROR_STATE, "the VM was failed over there, and is the primary of a third host now");
        return false;
    }
    g_autoptr(Member) member = find_bound(opaque, peer, vm_uuid, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "let the primary keep its role", error))
        return false;
    g_autoptr(GError) refused = NULL;
    bool good = false;
    bool barred = replica_bar_receiving(member->replica);
    if (!barred)
        g_set_error_literal(error, LINK_ERROR, LINK_ERROR_STATE, "the last log is just being taken; try again");
    else if (service_check_not_prepared(member, &refused))
        good = take_kept_role(member, error);
    else
        g_set_error_literal(error, LINK_ERROR, LINK_ERROR_STATE, refused->message);
    if (barred)
        replica_allow_receiving(member->replica);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    if (good)
        replica_position(member->replica, ret_position);
    return good;
}

/* A lack of room, which somebody here must mend, is shown as the relationship's error until a log is taken again. */
static void
note_room(Member *member, const GError *cause)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    bool no_room = g_error_matches(cause, LINK_ERROR, LINK_ERROR_NO_SPACE);
    if (no_room)
        tally_set_trouble(relationship_tally(member->relationship), FAILURE_LOCAL);
    if (no_room && relationship_set_error(member->relationship, cause->message))
        log_warning("link", row->vm_name, "a log was not taken: %s; it is taken as soon as there is room", cause->message);
    else if (cause != NULL)
        log_info("link", row->vm_name, "a log was not taken: %s", cause->message);
    else if (g_atomic_int_get(&member->no_room) && relationship_set_error(member->relationship, NULL))
        log_notice("link", row->vm_name, "logs are taken again");
    if (no_room || cause == NULL)
        g_atomic_int_set(&member->no_room, no_room);
}

static bool
op_receive(void *opaque, const LinkPeer *peer, const char *vm_uuid, ChangeLogSource log, const LinkStream *stream,
           LinkPosition *ret_position, GError **error)
{
    g_autoptr(Member) member = find_bound(opaque, peer, vm_uuid, error);
    if (member == NULL)
        return false;
    g_autoptr(GError) cause = NULL;
    ReplicaLimits limits = entry_limits_of(member);
    tally_heard(relationship_tally(member->relationship));
    bool good = replica_receive(member->replica, log, stream, &limits, ret_position, &cause);
    tally_heard(relationship_tally(member->relationship));
    note_room(member, cause);
    if (good)
        return true;
    tally_failure(relationship_tally(member->relationship), service_failure_of_received(cause));
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

static bool
op_hashes(void *opaque, const LinkPeer *peer, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
          GByteArray *hashes, GError **error)
{
    g_autoptr(Member) member = find_bound(opaque, peer, vm_uuid, error);
    return member != NULL && replica_hashes(member->replica, disk, offset, length, hashes, error);
}

/* Removes what there is of a replica that is noted as unfinished, and ends its member last: no offer comes in between. By the
 * operation that has it. */
static void
undo_making(ReplicationService *self, Member *member, const StoreRelationship *row)
{
    g_autoptr(GError) error = NULL;
    replica_close_disks(member->replica);
    if (!replica_making_undo(&self->context, row->vm_uuid, &error))
        log_warning("link", row->vm_name, "%s; what is left of its replica is removed when it is offered again, or at the next start",
                    error->message);
    service_drop_member(self, member);
}

/* The VM that was here before stays, with its own definition. */
static bool
drop_seeded(ReplicationService *self, Member *member, const StoreRelationship *row, GError **error)
{
    g_autofree char *word = NULL;
    if (!service_leave_seed(member, &word, error) || !relationship_remove(member->relationship, NULL, error))
        return false;
    service_drop_member(self, member);
    service_clean_seed(row);
    log_warning("link", row->vm_name, "its primary has ended the first copy: %s", word);
    return true;
}

/* Ends the member and removes all that was made for it. By the operation that has it. */
static bool
drop_replica(ReplicationService *self, Member *member, const StoreRelationship *row, GError **error)
{
    if (replica_is_seeded(row))
        return drop_seeded(self, member, row, error);
    g_autoptr(StoreUnfinished) note = replica_making_mark(row, error);
    if (note == NULL || !relationship_remove(member->relationship, note, error))
        return false;
    undo_making(self, member, row);
    return true;
}

/* A replica that never was complete is of no use to anybody. One that was stays, whatever its primary wants: whoever holds
 * the primary must not be able to take the replica away. */
static bool
op_remove(void *opaque, const LinkPeer *peer, const char *vm_uuid, GError **error)
{
    ReplicationService *self = opaque;
    g_autoptr(Member) member = find_bound(self, peer, vm_uuid, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, "remove the replica", error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    bool good = row->initial_complete || drop_replica(self, member, row, error);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    if (!good)
        return false;
    if (!row->initial_complete) {
        log_notice("link", row->vm_name, "the primary has removed its replication before the first copy; the replica is removed");
        return true;
    }
    log_notice("link", row->vm_name, "the primary has removed its replication; the replica stays until it is removed here");
    return true;
}

/* ---- offers ---- */

static bool
check_offer(const LinkOffer *offer, GError **error)
{
    if (offer->vm_name[0] == '\0' || strlen(offer->vm_name) > NAME_MAX_BYTES || strpbrk(offer->vm_name, "/\n\r\t") != NULL ||
        strcmp(offer->vm_name, ".") == 0 || strcmp(offer->vm_name, "..") == 0)
        return deny(error, "the VM's name is empty, too long or has characters that are not allowed in it");
    if (offer->n_disks == 0)
        return deny(error, "a VM without disks cannot be replicated");
    for (unsigned i = 0; i < offer->n_disks; i++) {
        if (offer->disks[i].size_bytes == 0 || offer->disks[i].size_bytes > REPLICA_DISK_SIZE_MAX ||
            offer->disks[i].size_bytes % 512 != 0)
            return deny(error, "disk '%s' has an impossible size", offer->disks[i].id);
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(offer->disks[i].id, offer->disks[j].id) == 0)
                return deny(error, "disk '%s' is named twice", offer->disks[i].id);
        }
    }
    return true;
}

/* A VM of ours is never overwritten or shadowed by a peer's. */
static bool
check_no_local_vm(ReplicationService *self, const LinkOffer *offer, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VirtDomain) by_uuid = virt_host_find(self->context.virt, offer->vm_uuid, &cause);
    if (by_uuid != NULL)
        return deny(error, "host '%s' has a VM with UUID %s that is not its replica; if its images are to be the seed of the replica, run 'virt-replica "
                    "as-replica' for it there, else remove it there, or give it another UUID", self->context.host_name, offer->vm_uuid);
    if (!g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    g_clear_error(&cause);
    g_autoptr(VirtDomain) by_name = virt_host_find_by_name(self->context.virt, offer->vm_name, &cause);
    if (by_name != NULL)
        return deny(error, "host '%s' has another VM named '%s'; rename one of them", self->context.host_name,
                    offer->vm_name);
    return true;
}

char *
service_replica_folder(ReplicationService *self, const AuthorizationEntry *entry, const char *vm_uuid)
{
    bool own_place = entry->storage_location != NULL && entry->storage_location[0] != '\0';
    g_autofree char *common = g_build_filename(self->context.state_folder, "replicas", NULL);
    return g_build_filename(own_place ? entry->storage_location : common, vm_uuid, NULL);
}

static StoreRelationship *
row_of_offer(ReplicationService *self, const LinkOffer *offer, const AuthorizationEntry *entry)
{
    StoreRelationship *row = store_relationship_new(offer->vm_uuid, 0);
    row->mode = offer->extended ? MODE_EXTENDED_REPLICA : MODE_REPLICA;
    row->state = STATE_WAITING_INITIAL;
    row->vm_name = g_strdup(offer->vm_name);
    row->lineage = g_strdup(offer->lineage);
    row->settings = g_strdup(offer->settings);
    row->peer = g_strdup(entry->allowed_primary);
    for (unsigned i = 0; i < offer->n_disks; i++)
        row->declared_bytes += offer->disks[i].size_bytes;
    row->folder = service_replica_folder(self, entry, offer->vm_uuid);
    return row;
}

static bool
is_unfinished(ReplicationService *self, const char *vm_uuid, bool *ret_unfinished, GError **error)
{
    g_autoptr(GPtrArray) notes = store_unfinished(self->context.store, vm_uuid, error);
    if (notes != NULL)
        *ret_unfinished = notes->len > 0;
    return notes != NULL;
}

/* What an earlier replica left is removed when it is ours, and refused otherwise. By the operation that makes the new one. */
static bool
clear_the_way(ReplicationService *self, const LinkOffer *offer, const StoreRelationship *row, GError **error)
{
    g_autoptr(GError) cause = NULL;
    if (!replica_making_undo(&self->context, row->vm_uuid, &cause))
        return deny(error, "what is left of an earlier replica on host '%s' could not be removed: %s", self->context.host_name,
                    cause->message);
    if (!check_no_local_vm(self, offer, error))
        return false;
    if (g_file_test(row->folder, G_FILE_TEST_EXISTS))
        return deny(error, "the folder '%s' on host '%s' holds files of an earlier replica; move it away or remove it", row->folder,
                    self->context.host_name);
    return true;
}

/* The row is saved last: that ends the note of an unfinished replica. */
static bool
make_and_save(ReplicationService *self, Member *member, const StoreRelationship *row, const LinkOffer *offer, GError **error)
{
    return replica_create(&self->context, row, offer, error) && replica_open_disks(member->replica, error) &&
           relationship_edit_end(member->relationship, relationship_edit(member->relationship), error);
}

static bool
make_replica(ReplicationService *self, const LinkOffer *offer, StoreRelationship *row, GError **error)
{
    g_autoptr(StoreRelationship) copy = store_relationship_copy(row);
    g_autoptr(Member) member = service_add_member(self, row, error);
    if (member == NULL)
        return false;
    if (!relationship_begin_operation(member->relationship, "make the replica", error)) {
        service_drop_member(self, member);
        return false;
    }
    bool clear = entry_limits_check_new(self, member, error) && clear_the_way(self, offer, copy, error);
    bool good = clear && make_and_save(self, member, copy, offer, error);
    if (!good)
        relationship_close(member->relationship, true);
    if (clear && !good)
        undo_making(self, member, copy);
    else if (!good)
        service_drop_member(self, member);
    relationship_end_operation(member->relationship);
    if (!good)
        return false;
    log_notice("link", copy->vm_name, "replica made for host '%s' in '%s'", offer->primary_host, copy->folder);
    return true;
}

/* A repeated offer for a replica that is here. */
static bool
check_repeated_offer(Member *member, const AuthorizationEntry *entry, const LinkOffer *offer, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (g_ascii_strcasecmp(row->lineage, offer->lineage) == 0)
        return true;
    if (replica_is_seeded(row))
        return service_take_seeded_again(member, entry, offer, error);
    return deny(error, "there is a replica of VM '%s' with another history here; remove its replication and its files first",
                row->vm_name);
}

/* May a host that @entry authorizes have that VM as its replica, as the administrator here said? */
static bool
is_awaited_from(ReplicationService *self, Member *member, const AuthorizationEntry *entry)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    return replica_is_awaited(row) && (row->peer == NULL || is_bound(self, row, entry));
}

/* Whoever holds the primary must not drop recovery points by its settings: what is there is kept as long as it was promised. */
static bool
take_settings(ReplicationService *self, Member *member, const RelationshipSettings *wanted, bool extended, GError **error)
{
    g_autoptr(RelationshipSettings) before = relationship_settings(member->relationship);
    g_autoptr(RelationshipSettings) after = relationship_settings_copy(wanted);
    g_strfreev(after->included_disks);
    after->included_disks = g_strdupv(before->included_disks);
    g_autofree char *text = relationship_settings_to_json(after), *text_before = relationship_settings_to_json(before);
    g_autoptr(StoreRelationship) now = relationship_row(member->relationship);
    if (strcmp(text, text_before) == 0 && now->mode == (extended ? MODE_EXTENDED_REPLICA : MODE_REPLICA))
        return true; /* told again */
    if (!retention_hold(&self->context, relationship_vm(member->relationship), before, after, error))
        return false;
    StoreRelationship *row = relationship_edit(member->relationship);
    g_autofree char *name = g_strdup(row->vm_name);
    row->mode = extended ? MODE_EXTENDED_REPLICA : MODE_REPLICA; /* a replica that sends on may have become a primary */
    g_free(row->settings);
    row->settings = g_steal_pointer(&text);
    if (!relationship_edit_end(member->relationship, row, error))
        return false;
    log_notice("link", name, "the primary changed its settings: %u hourly points, AdditionalSettings '%s'", after->recovery_history,
               after->additional_settings != NULL ? after->additional_settings : "");
    return true;
}

static bool
op_offer(void *opaque, const LinkPeer *peer, const LinkOffer *offer, bool update, LinkPosition *ret_position, GError **error)
{
    ReplicationService *self = opaque;
    g_autoptr(AuthorizationEntry) entry = authorize(self, peer, error);
    if (entry == NULL || !check_offer(offer, error))
        return false;
    g_autoptr(RelationshipSettings) settings = relationship_settings_from_json(offer->settings, error);
    if (settings == NULL || !relationship_settings_check(settings, error))
        return false;
    g_autoptr(Member) member = service_find_member(self, offer->vm_uuid);
    bool unfinished;
    if (!is_unfinished(self, offer->vm_uuid, &unfinished, error))
        return false;
    if (member != NULL && !update && is_awaited_from(self, member, entry)) {
        if (!service_take_awaited(self, member, entry, offer, error))
            return false;
        g_autoptr(Member) taken = find_bound(self, peer, offer->vm_uuid, error);
        if (taken != NULL)
            replica_position(taken->replica, ret_position);
        return taken != NULL;
    }
    if (member != NULL) {
        g_autoptr(Member) bound = find_bound(self, peer, offer->vm_uuid, error);
        if (bound == NULL || !check_repeated_offer(bound, entry, offer, error))
            return false;
        if (unfinished) {
            g_set_error_literal(error, LINK_ERROR, LINK_ERROR_STATE, "the replica is just being made or removed; try again");
            return false;
        }
        g_autoptr(Member) onward = service_find_member_at(self, offer->vm_uuid, 1);
        if (offer->extended && onward != NULL)
            return deny(error, "the replica of VM '%s' here is sent on to a third host already", offer->vm_name);
        if (update && (!take_settings(self, bound, settings, offer->extended, error) || !service_take_disks(bound, offer, error)))
            return false;
        replica_position(bound->replica, ret_position);
        return true;
    }
    if (update)
        return deny(error, "there is no replica of VM %s here that belongs to you", offer->vm_uuid);
    if ((!unfinished && !check_no_local_vm(self, offer, error)) || !retention_forget(&self->context, offer->vm_uuid, error) ||
        !make_replica(self, offer, row_of_offer(self, offer, entry), error))
        return false;
    g_autoptr(Member) made = service_find_member(self, offer->vm_uuid);
    if (made == NULL)
        return deny(error, "the replica was removed");
    replica_position(made->replica, ret_position);
    return true;
}

/* ---- reversals ---- */

static bool
op_reverse(void *opaque, const LinkPeer *peer, const LinkReversal *reversal, LinkPosition *ret_position, GError **error)
{
    ReplicationService *self = opaque;
    g_autoptr(AuthorizationEntry) entry = authorize(self, peer, error);
    if (entry == NULL || !check_offer(&reversal->offer, error))
        return false;
    g_autoptr(RelationshipSettings) settings = relationship_settings_from_json(reversal->offer.settings, error);
    if (settings == NULL || !relationship_settings_check(settings, error))
        return false;
    g_autoptr(Member) member = service_find_member(self, reversal->offer.vm_uuid);
    bool is_theirs = member != NULL;
    if (is_theirs && member->replica != NULL) {
        g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
        is_theirs = is_bound(self, row, entry) && !replica_is_awaited(row);
    }
    if (!is_theirs)
        return deny(error, "host '%s' does not replicate VM %s to you", self->context.host_name, reversal->offer.vm_uuid);
    return service_take_reversal(self, member, peer, entry, reversal, ret_position, error);
}

static bool
op_changes(void *opaque, const LinkPeer *peer, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
           GByteArray *bits, GError **error)
{
    g_autoptr(Member) member = find_bound(opaque, peer, vm_uuid, error);
    if (member == NULL)
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(GError) cause = NULL;
    if (replica_changes_read(row->folder, disk, offset, length, bits, &cause))
        return true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_STATE, "what was written to disk '%s' is not known here: %s", disk, cause->message);
    return false;
}

LinkServerOps
service_link_ops(ReplicationService *self)
{
    return (LinkServerOps){ .opaque = self,
                            .hello = op_hello,
                            .offer = op_offer,
                            .position = op_position,
                            .receive = op_receive,
                            .hashes = op_hashes,
                            .remove = op_remove,
                            .reverse = op_reverse,
                            .keep_role = op_keep_role,
                            .changes = op_changes };
}
