/* Before a first copy is started: what its kind needs. */
#include "replication/service-private.h"

#include "replication/copy-folder.h"
#include "util/durable.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TYPE_EXPORT 2
#define TYPE_SEEDED 3

static bool
check_startable(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    ReplicationState next;
    return state_table_next(row->mode, row->state, row->resume_state, OPERATION_START_INITIAL, &next, error);
}

/* ---- seeded ---- */

/* Only a replica that was made of a VM there has something to compare with. */
static bool
check_seed(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    const char *host = settings->recovery_connection_point;
    GError *cause = NULL;
    LinkPosition position;
    if (!primary_ask_position(&member->service->context, row->vm_uuid, settings, &position, &cause))
        return service_fail(cause, error);
    return position.seeded ||
           replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "there is no VM on '%s' to seed the replica of '%s' from: it was made with empty disks. Remove the replication "
                              "here, define the VM there with the UUID %s and copies of its disks, run 'virt-replica as-replica %s' there, then "
                              "enable replication again; or send all of it (type 1)", host, row->vm_name, row->vm_uuid, row->vm_name);
}

/* The plan that the first pass begins with: everything, and only what differs is sent. */
static bool
plan_comparison(Member *member, GError **error)
{
    g_autoptr(Plan) plan = plan_new(true, NULL);
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    GError *cause = NULL;
    return primary_save_plan(&member->service->context, row, plan, &cause) ||
           service_fail(cause, error);
}

/* ---- into a folder ---- */

bool
service_check_location(const char *parameter, const char *location, GError **error)
{
    if (location == NULL || location[0] == '\0')
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "%s is missing: give the full path of a folder on this host",
                                  parameter);
    if (location[0] != '/')
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "%s: '%s' is no full path; it has to begin with '/'", parameter,
                                  location);
    struct stat st;
    if (stat(location, &st) < 0)
        return replication_refuse(error, errno == EACCES ? REPLICATION_ERROR_ACCESS_DENIED : REPLICATION_ERROR_FILE_NOT_FOUND,
                                  "%s: '%s' on this host: %s", parameter, location, g_strerror(errno));
    return S_ISDIR(st.st_mode) ||
           replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "%s: '%s' is no folder", parameter, location);
}

/* With a list of nothing, so that it is known for what it is from its begin. */
static bool
make_folder(const StoreRelationship *row, const char *location, const char *folder, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(CopyFolder) list = copy_folder_new(row->vm_uuid, row->vm_name, row->lineage);
    if (access(location, W_OK | X_OK) < 0)
        return replication_refuse(error, REPLICATION_ERROR_ACCESS_DENIED,
                                  "InitialReplicationExportLocation: virt-replicad cannot write to '%s': %s", location, g_strerror(errno));
    if (durable_mkdir(folder, &cause) && copy_folder_save(list, folder, &cause))
        return true;
    durable_remove_tree(folder, NULL);
    return replication_refuse(error, REPLICATION_ERROR_FAILED, "InitialReplicationExportLocation: %s", cause->message);
}

static bool
note_folder(Member *member, const char *folder, GError **error)
{
    GError *cause = NULL;
    StoreRelationship *edit = relationship_edit(member->relationship);
    g_free(edit->export_folder);
    edit->export_folder = g_strdup(folder);
    edit->exported = false;
    return relationship_edit_end(member->relationship, edit, &cause) || service_fail(cause, error);
}

static bool
plan_export(Member *member, const char *location, GError **error)
{
    if (!service_check_location("InitialReplicationExportLocation", location, error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *folder = copy_folder_new_path(location, row->vm_name);
    if (!make_folder(row, location, folder, error))
        return false;
    if (note_folder(member, folder, error))
        return true;
    durable_remove_tree(folder, NULL);
    return false;
}

/* ---- all ---- */

static bool
forget_plan(Member *member, GError **error)
{
    GError *cause = NULL;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    return primary_forget_plan(&member->service->context, row, &cause) || service_fail(cause, error);
}

bool
service_plan_first_copy(Member *member, unsigned type, const char *location, GError **error)
{
    if (!check_startable(member, error) || !forget_plan(member, error))
        return false;
    if (type == TYPE_EXPORT)
        return plan_export(member, location, error);
    return note_folder(member, NULL, error) && (type != TYPE_SEEDED || (check_seed(member, error) && plan_comparison(member, error)));
}

void
service_note_export(Member *member, Job *job)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(RelationshipSettings) settings = relationship_settings(member->relationship);
    if (row->export_folder == NULL)
        return;
    g_autofree char *word = g_strdup_printf("The first copy of '%s' is in '%s'; bring that folder to '%s' and take it in there with "
                                            "'virt-replica import-initial %s FOLDER'", row->vm_name, row->export_folder,
                                            settings->recovery_connection_point, row->vm_name);
    job_set_note(job, word);
}
