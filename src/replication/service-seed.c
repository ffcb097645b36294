/* A VM of this host becomes the replica of a primary that has the same VM, and the first copy goes into its images (it is seeded by them).
 * Its administrator says so first: then the VM awaits a primary, and only then may one have it. It gets its own definition back when its
 * replication is removed before the first copy is complete. */
#include "replication/service-private.h"

#include "replication/replica-folder.h"
#include "replication/retention.h"
#include "replication/seed-check.h"
#include "replication/turn-check.h"
#include "replication/turn-folder.h"
#include "util/durable.h"
#include "util/log.h"

#include <string.h>
#include <unistd.h>

/* ---- awaiting a primary ---- */

static StoreRelationship *
row_of_domain(const VirtDomain *domain)
{
    StoreRelationship *row = store_relationship_new(domain->uuid, 0);
    row->mode = MODE_REPLICA;
    row->vm_name = g_strdup(domain->name);
    return row;
}

static bool
check_unfinished(ReplicationService *self, const VirtDomain *domain, GError **error)
{
    GError *cause = NULL;
    g_autoptr(GPtrArray) notes = store_unfinished(self->context.store, domain->uuid, &cause);
    if (notes == NULL)
        return service_fail(cause, error);
    return notes->len == 0 || replication_refuse(error, REPLICATION_ERROR_IN_USE,
                                                 "what is left of an earlier replica of VM '%s' is still to be removed; restart virt-replicad",
                                                 domain->name);
}

static bool
save_awaiting(ReplicationService *self, StoreRelationship *row, GError **error)
{
    g_autoptr(Member) member = service_add_member(self, row, error);
    GError *cause = NULL;
    if (member == NULL)
        return false;
    if (relationship_edit_end(member->relationship, relationship_edit(member->relationship), &cause))
        return true;
    relationship_close(member->relationship, false);
    service_drop_member(self, member);
    return service_fail(cause, error);
}

bool
service_await_primary(ReplicationService *self, const Caller *caller, const VirtDomain *domain, GError **error)
{
    static const char what[] = "become a replica";
    ReplicationState next;
    if (!service_refuse_test_vm(self, domain, what, error) ||
        !state_table_next(MODE_NONE, STATE_DISABLED, STATE_DISABLED, OPERATION_AWAIT_PRIMARY, &next, error))
        return false;
    if (!domain->persistent)
        return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED, "VM '%s' is transient; define it first", domain->name);
    StoreRelationship *row = row_of_domain(domain);
    row->state = next;
    if (!check_unfinished(self, domain, error) || !seed_check_off(self, row, error) || !seed_fold_overlays(self, row, error) ||
        !seed_check_vm(self, row, error)) {
        store_relationship_free(row);
        return false;
    }
    if (!save_awaiting(self, row, error))
        return false;
    log_notice("seed", domain->name, "may become the replica of a primary with its UUID and its disks, wanted by %s", caller->user);
    return true;
}

/* ---- and back ---- */

/* Is it defined as the replica? False with @error when that cannot be seen. */
static bool
is_on_overlays(ReplicationService *self, const StoreRelationship *row, bool *ret_is, GError **error)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error);
    g_autoptr(GPtrArray) disks = ids != NULL ? virt_host_disks(self->context.virt, row->vm_uuid, error) : NULL;
    if (disks == NULL)
        return false;
    *ret_is = replica_is_on_overlays(&self->context, row);
    return true;
}

/* Also when the definition in its place was not to libvirt's taste, and it has none. */
static bool
give_definition_back(ReplicationService *self, const StoreRelationship *row, GError **error)
{
    g_autofree char *path = replica_definition_before(row->folder), *xml = NULL;
    g_autofree char *autostart = replica_turn_fact(row->folder, TURN_AUTOSTART);
    g_autoptr(GError) cause = NULL;
    g_autoptr(VirtDomain) domain = virt_host_find(self->context.virt, row->vm_uuid, &cause);
    if (domain == NULL && !g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN)) {
        g_propagate_error(error, g_steal_pointer(&cause));
        return false;
    }
    bool there = domain != NULL;
    if (there && !is_on_overlays(self, row, &there, error))
        return false;
    bool own = domain != NULL && !there;
    return (own || (g_file_get_contents(path, &xml, NULL, error) &&
                    (domain == NULL || virt_host_displace(self->context.virt, row->vm_uuid, error)) &&
                    virt_host_define(self->context.virt, xml, error))) &&
           (autostart == NULL || virt_host_set_autostart(self->context.virt, row->vm_uuid, true, error));
}

/* Where the disks are goes last: by that the folder is known for this VM's. */
static void
forget_disks(const StoreRelationship *row, char *const *ids)
{
    for (char *const *id = ids; id != NULL && *id != NULL; id++) {
        g_autofree char *path = g_strdup_printf("%s/disks/%s.path", row->folder, *id);
        durable_unlink(path, NULL);
    }
}

static void
remove_overlays(const StoreRelationship *row, char *const *ids)
{
    for (char *const *id = ids; id != NULL && *id != NULL; id++) {
        g_autofree char *path = replica_overlay_path(row->folder, *id);
        durable_unlink(path, NULL);
    }
}

/* The VM's images may be in the same folder, and its firmware variables: what was made for the replica goes by its name. */
void
service_clean_seed(const StoreRelationship *row)
{
    static const char *const trees[] = { "blobs", "staging", "undo", "reversed" };
    static const char *const folders[] = { "failover/blobs", "failover", "disks", "" };
    g_autofree char *before = replica_definition_before(row->folder);
    g_auto(GStrv) ids = replica_folder_disks(row->folder, NULL);
    remove_overlays(row, ids);
    for (size_t i = 0; i < G_N_ELEMENTS(trees); i++) {
        g_autofree char *path = g_build_filename(row->folder, trees[i], NULL);
        durable_remove_tree(path, NULL);
    }
    durable_unlink(before, NULL);
    forget_disks(row, ids);
    for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
        g_autofree char *path = g_build_filename(row->folder, folders[i], NULL);
        rmdir(path); /* what is not empty stays */
    }
}

/* ---- a primary comes ---- */

static bool
note_autostart(ReplicationService *self, const StoreRelationship *row, const char *folder, GError **error)
{
    g_autoptr(VirtDomain) domain = virt_host_find(self->context.virt, row->vm_uuid, error);
    return domain != NULL && (!domain->autostart || replica_turn_note(folder, TURN_AUTOSTART, "", error));
}

static bool
write_definition(const LinkOffer *offer, const char *folder, GError **error)
{
    g_autofree char *blobs = replica_blob_folder(folder);
    g_autofree char *path = g_build_filename(blobs, "domain.xml", NULL);
    return durable_replace(path, offer->domain_xml, strlen(offer->domain_xml), error);
}

static bool
fill_folder(ReplicationService *self, const StoreRelationship *row, const LinkOffer *offer, const char *folder, GError **error)
{
    g_auto(GStrv) targets = seed_targets(offer);
    return replica_folder_clear(folder, error) && turn_adopt_disks(&self->context, row->vm_uuid, targets, folder, error) &&
           turn_keep_definition(&self->context, row->vm_uuid, folder, error) && write_definition(offer, folder, error) &&
           note_autostart(self, row, folder, error) && replica_turn_note(folder, TURN_SEEDED, "", error);
}

/* From now on the VM is the replica of whoever sent @offer. */
static bool
note_taken(Member *member, const LinkOffer *offer, const AuthorizationEntry *entry, GError **error)
{
    StoreRelationship *row = relationship_edit(member->relationship);
    char **texts[] = { &row->lineage, &row->settings, &row->peer, &row->pass_token };
    const char *values[] = { offer->lineage, offer->settings, entry->allowed_primary, NULL };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(*texts[i]);
        *texts[i] = g_strdup(values[i]);
    }
    row->mode = offer->extended ? MODE_EXTENDED_REPLICA : MODE_REPLICA;
    row->declared_bytes = 0;
    for (unsigned i = 0; i < offer->n_disks; i++)
        row->declared_bytes += offer->disks[i].size_bytes;
    return relationship_edit_end(member->relationship, row, error);
}

static bool
check_waits(const StoreRelationship *row, GError **error)
{
    if (row->state == STATE_WAITING_INITIAL)
        return true;
    g_set_error(error, LINK_ERROR, LINK_ERROR_STATE, "VM '%s' may become a replica, and is %s there; resume it there", row->vm_name,
                replication_state_name(row->state));
    return false;
}

/* It awaits a primary as before. What cannot be taken back now is by the removal of its replication. */
static void
await_again(Member *member, const StoreRelationship *before)
{
    g_autoptr(GError) error = NULL;
    replica_close_disks(member->replica);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    bool good = give_definition_back(member->service, row, &error);
    if (good) {
        StoreRelationship *edit = relationship_edit(member->relationship);
        g_clear_pointer(&edit->lineage, g_free);
        g_clear_pointer(&edit->settings, g_free);
        g_clear_pointer(&edit->folder, g_free);
        g_free(edit->peer);
        edit->peer = g_strdup(before->peer);
        edit->declared_bytes = 0;
        good = relationship_edit_end(member->relationship, edit, &error);
    }
    if (good)
        service_clean_seed(row);
    else
        log_error("seed", row->vm_name, "it has not its own definition back: %s; 'virt-replica remove %s' gives it back", error->message,
                  row->vm_name);
}

static bool
take(ReplicationService *self, Member *member, const AuthorizationEntry *entry, const LinkOffer *offer, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *folder = turn_folder(self, row, entry);
    if (!check_waits(row, error) || !seed_check_offer(self, row, offer, entry, folder, error) ||
        !retention_forget(&self->context, row->vm_uuid, error) || !turn_claim_folder(member, folder, error) ||
        !fill_folder(self, row, offer, folder, error) || !note_taken(member, offer, entry, error))
        return false;
    g_autoptr(Member) replica = service_replace_member(self, member, error);
    if (replica == NULL || !relationship_begin_operation(replica->relationship, "become the replica", error))
        return false;
    bool good = replica_settle(replica->replica, false, error);
    if (!good)
        await_again(replica, row);
    relationship_end_operation(replica->relationship);
    service_wake_member(replica);
    if (good)
        log_notice("seed", row->vm_name, "is the replica of '%s' from now on; the first copy goes into its images", offer->primary_host);
    return good;
}

bool
service_take_awaited(ReplicationService *self, Member *member, const AuthorizationEntry *entry, const LinkOffer *offer, GError **error)
{
    if (!relationship_begin_operation(member->relationship, "become the replica", error))
        return false;
    bool good = take(self, member, entry, offer, error);
    relationship_end_operation(member->relationship);
    return good;
}

/* ---- the same primary comes again, with another history ---- */

static bool
check_seeded(const StoreRelationship *row, GError **error)
{
    return replica_is_seeded(row) || service_deny_peer(error, "the first copy of VM '%s' is complete, with another history", row->vm_name);
}

static bool
check_same_disks(const StoreRelationship *row, const LinkOffer *offer, GError **error)
{
    g_auto(GStrv) ids = replica_folder_disks(row->folder, error), targets = seed_targets(offer);
    if (ids == NULL)
        return false;
    bool same = g_strv_length(ids) == offer->n_disks;
    uint64_t bytes = 0;
    for (unsigned i = 0; same && i < offer->n_disks; i++) {
        same = g_strv_contains((const char *const *)ids, targets[i]);
        bytes += offer->disks[i].size_bytes;
    }
    return (same && bytes == row->declared_bytes) ||
           service_deny_peer(error, "VM '%s' became a replica with other disks; remove its replication there, and begin anew", row->vm_name);
}

bool
service_take_seeded_again(Member *member, const AuthorizationEntry *entry, const LinkOffer *offer, GError **error)
{
    if (!relationship_begin_operation(member->relationship, "become the replica", error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    bool good = check_waits(row, error) && check_seeded(row, error) && check_same_disks(row, offer, error) &&
                note_taken(member, offer, entry, error) && replica_settle(member->replica, false, error);
    relationship_end_operation(member->relationship);
    service_wake_member(member);
    return good;
}

/* ---- its replication is removed ---- */

bool
service_leave_seed(Member *member, char **ret_word, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    *ret_word = NULL;
    if (!replica_is_seeded(row))
        return true;
    g_autofree char *changed = replica_turn_fact(row->folder, TURN_CHANGED);
    replica_close_disks(member->replica);
    if (!give_definition_back(member->service, row, error))
        return false;
    *ret_word = changed == NULL
                    ? g_strdup_printf("VM '%s' has its own definition and its images again; nothing was written into them", row->vm_name)
                    : g_strdup_printf("VM '%s' has its own definition again, but its images were changed by a first copy that is not complete: "
                                      "they hold neither what the VM had here nor what the primary has. They can be made a replica again "
                                      "('virt-replica as-replica %s'); to start the VM, restore them from a backup", row->vm_name,
                                      row->vm_name);
    return true;
}
