/* ImportInitialReplica: the first copy of a replica comes from a folder that its primary has exported. All of it is checked before anything is
 * written, and checked again as it is; what a death breaks off is done again by asking again. */
#include "replication/service-private.h"

#include "replication/copy-folder.h"
#include "replication/entry-limits.h"
#include "util/log.h"

#include <string.h>
#include <unistd.h>

#define PARAMETER "InitialReplicationImportLocation"

/* ---- what is in the folder ---- */

/* Takes @cause. */
static bool
fail_for_folder(GError *cause, GError **error)
{
    if (cause->domain != COPY_FOLDER_ERROR || cause->code == COPY_FOLDER_ERROR_FAILED)
        return service_fail(cause, error);
    g_set_error_literal(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER, cause->message);
    g_error_free(cause);
    return false;
}

static bool
check_list(const CopyFolder *list, const StoreRelationship *row, const char *location, GError **error)
{
    if (g_ascii_strcasecmp(list->vm_uuid, row->vm_uuid) != 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, PARAMETER ": '%s' holds a copy of another VM, '%s' with UUID %s",
                                  location, list->vm_name, list->vm_uuid);
    if (g_ascii_strcasecmp(list->lineage, row->lineage) != 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  PARAMETER ": '%s' holds a copy of VM '%s' from another relationship; export it again since replication was "
                                  "enabled as it is now", location, row->vm_name);
    if (list->taken_usec == 0 || list->logs->len == 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                  PARAMETER ": the copy in '%s' is not complete: wait for the end of its export, or bring all of the folder",
                                  location);
    return true;
}

static CopyFolder *
load_list(const StoreRelationship *row, const char *location, GError **error)
{
    GError *cause = NULL;
    CopyFolder *list = copy_folder_load(location, &cause);
    if (list == NULL)
        fail_for_folder(cause, error);
    else if (!check_list(list, row, location, error))
        g_clear_pointer(&list, copy_folder_free);
    return list;
}

/* ---- the job ---- */

typedef struct {
    Member     *member;
    Job        *job;
    const char *location;
    const CopyFolder *list;
    uint64_t    done, total; /* bytes of logs, each checked once and then applied */
} Import;

static void
advance(Import *self, unsigned number)
{
    self->done += g_array_index(self->list->logs, CopyLog, number - 1).bytes;
    job_set_percent(self->job, (unsigned)(self->done / (self->total / 100 + 1)));
    relationship_set_percent(self->member->relationship, (unsigned)(self->done / (self->total / 100 + 1)));
}

/* The daemon's stop waits for its jobs. */
static bool
check_going_on(Import *self, GError **error)
{
    ReplicationService *service = self->member->service;
    g_mutex_lock(&service->lock);
    bool stopping = service->stopping;
    g_mutex_unlock(&service->lock);
    return !stopping || replication_refuse(error, REPLICATION_ERROR_FAILED, "virt-replicad is being stopped; import the folder again afterwards");
}

/* Opens a log that is what the list says, and what this replica takes now; -1 with @error. */
static int
open_log(Import *self, unsigned number, ChangeLogSummary *ret_summary, GError **error)
{
    GError *cause = NULL;
    ReplicaLimits limits = entry_limits_of(self->member);
    int fd = copy_folder_open_log(self->list, self->location, number, ret_summary, &cause);
    if (fd < 0) {
        fail_for_folder(cause, error);
        return -1;
    }
    bool last = number == self->list->logs->len, closes = ret_summary->header.point_kind != POINT_KIND_NONE;
    if (ret_summary->header.kind != CHANGE_LOG_INITIAL || last != closes)
        replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, PARAMETER ": log %u in '%s' is none of a first copy there", number,
                           self->location);
    else if (replica_check_header(self->member->replica, &ret_summary->header, &limits, &cause))
        return fd;
    else
        service_fail(cause, error);
    close(fd);
    return -1;
}

static bool
check_logs(Import *self, GError **error)
{
    for (unsigned number = 1; number <= self->list->logs->len; number++) {
        ChangeLogSummary summary;
        int fd = check_going_on(self, error) ? open_log(self, number, &summary, error) : -1;
        if (fd < 0)
            return false;
        close(fd);
        advance(self, number);
    }
    return true;
}

/* The age of the copy goes by two hosts' clocks here: nothing else says how long it was on its way. */
static bool
apply_log(Import *self, unsigned number, GError **error)
{
    int64_t age = MAX(g_get_real_time() - self->list->taken_usec, 0);
    ChangeLogSummary summary;
    int fd = open_log(self, number, &summary, error);
    if (fd < 0)
        return false;
    GError *cause = NULL;
    bool good = replica_apply_first(self->member->replica, &summary.header, fd, summary.digest, NULL, g_get_monotonic_time() - age, &cause) ||
                service_fail(cause, error);
    close(fd);
    advance(self, number);
    return good;
}

static bool
apply_logs(Import *self, GError **error)
{
    for (unsigned number = 1; number <= self->list->logs->len; number++) {
        if (!check_going_on(self, error) || !apply_log(self, number, error))
            return false;
    }
    return true;
}

static bool
import_job(Member *member, Job *job, void *data, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(CopyFolder) list = load_list(row, data, error);
    if (list == NULL)
        return false;
    Import import = { .member = member, .job = job, .location = data, .list = list };
    for (guint i = 0; i < list->logs->len; i++)
        import.total += 2 * g_array_index(list->logs, CopyLog, i).bytes;
    GError *cause = NULL;
    if (!replica_settle(member->replica, false, &cause))
        return service_fail(cause, error);
    if (!check_logs(&import, error) || !apply_logs(&import, error))
        return false;
    log_notice("service", row->vm_name, "first copy imported from '%s'", import.location);
    return true;
}

/* ---- the call ---- */

static bool
check_state(const StoreRelationship *row, GError **error)
{
    ReplicationState next;
    if (replica_is_awaited(row))
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot import the first copy: no primary has come for VM '%s' yet; enable its replication there first",
                                  row->vm_name);
    return state_table_next(row->mode, row->state, row->resume_state, OPERATION_IMPORT, &next, error);
}

bool
replication_service_import_initial(ReplicationService *self, const Caller *caller, const char *vm_uuid, const char *location, Job **ret_job,
                                   GError **error)
{
    *ret_job = NULL;
    g_autoptr(Member) member = service_find_replicating(self, vm_uuid, operation_name(OPERATION_IMPORT), error);
    if (member == NULL || !service_check_location(PARAMETER, location, error) ||
        !relationship_begin_operation(member->relationship, operation_name(OPERATION_IMPORT), error))
        return false;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autoptr(CopyFolder) list = check_state(row, error) ? load_list(row, location, error) : NULL;
    if (list == NULL) {
        relationship_end_operation(member->relationship);
        return false;
    }
    g_autofree char *what = g_strdup_printf("Importing the first copy of '%s'", row->vm_name);
    *ret_job = job_list_add(self->jobs, JOB_IMPORT, row->vm_uuid, caller->user, what, false);
    service_run_job(member, *ret_job, import_job, g_strdup(location), g_free);
    return true;
}
