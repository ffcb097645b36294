/* Test failover: a second VM beside the replica, on overlays of its own, while replication goes on.
 *
 * From its making to its end the replica disks are frozen: the test VM reads them, what is received waits in the
 * staging folder, and the fence (replica-fence.c) keeps both the replica VM from starting and everybody from writing
 * the disks. What the test VM writes goes with it. */
#include "failover/failover-private.h"

#include "disk/disk-server.h"
#include "failover/overlay.h"
#include "replication/replica-folder.h"
#include "replication/tpm-state.h"
#include "util/durable.h"
#include "util/log.h"

static char *
test_run_folder(const ReplicationContext *context, const StoreRelationship *row)
{
    return g_strdup_printf("%s/t-%.13s", context->run_folder, row->vm_uuid);
}

/* ---- its end ---- */

static bool
set_stage(Member *member, TestStage stage, GError **error)
{
    StoreRelationship *edit = relationship_edit(member->relationship);
    edit->test_stage = stage;
    if (stage == TEST_MADE)
        edit->guest_todo |= GUEST_OF_TEST;
    else
        edit->guest_todo &= ~(unsigned)GUEST_OF_TEST;
    if (stage == TEST_NONE) {
        g_clear_pointer(&edit->test_uuid, g_free);
        g_clear_pointer(&edit->test_point, g_free);
    }
    return relationship_edit_end(member->relationship, edit, error);
}

/* The VM, its disks and whatever had them open. */
static bool
remove_test(Member *member, const StoreRelationship *row, GError **error)
{
    const ReplicationContext *context = &member->service->context;
    g_autofree char *run = test_run_folder(context, row), *folder = replica_test_folder(row->folder);
    return virt_host_discard(context->virt, row->test_uuid, error) && disk_server_end_left_over(run, error) &&
           durable_remove_tree(folder, error);
}

bool
failover_drop_test(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (row->test_stage == TEST_NONE)
        return true;
    if (!remove_test(member, row, error))
        return false;
    replica_close_fence(member->replica);
    if (!set_stage(member, TEST_NONE, error))
        return false;
    log_notice("failover", row->vm_name, "the test failover has ended and its VM is removed");
    return true;
}

/* The stage is ENDING in the store: a restart comes back to here. What waited is applied by a worker afterwards. */
static bool
end_test_job(Member *member, Job *job, void *data, GError **error)
{
    return failover_drop_test(member, error) && replica_open_disks(member->replica, error);
}

static bool
check_may_end(ReplicationService *self, const VirtDomain *domain, GError **error)
{
    g_autoptr(Member) member = service_find_test_of(self, domain->uuid);
    if (member == NULL)
        return replication_refuse(error, REPLICATION_ERROR_NOT_SUPPORTED,
                                  "VM '%s' is no test replica, and only those are removed here; 'virsh undefine' "
                                  "removes other VMs",
                                  domain->name);
    if (domain->state == VIRT_SAVED || failover_not_off(domain) == NULL)
        return true;
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "cannot remove VM '%s': it %s", domain->name,
                              failover_not_off(domain));
}

/* Somebody else was faster. */
static bool
refuse_ended(const VirtDomain *domain, GError **error)
{
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE, "the test failover with VM '%s' has ended",
                              domain->name);
}

bool
failover_end_test(ReplicationService *service, const Caller *caller, const char *test_uuid, Job **ret_job,
                  GError **error)
{
    *ret_job = NULL;
    g_autoptr(VirtDomain) domain = service_find_domain(service, test_uuid, error);
    if (domain == NULL || !check_may_end(service, domain, error))
        return false;
    g_autoptr(Member) member = service_find_test_of(service, domain->uuid);
    if (member == NULL)
        return refuse_ended(domain, error);
    if (!relationship_begin_operation(member->relationship, "end the test failover", error))
        return false;
    GError *cause = NULL;
    if (!relationship_has_test(member->relationship, domain->uuid) || !set_stage(member, TEST_ENDING, &cause)) {
        relationship_end_operation(member->relationship);
        return cause != NULL ? service_fail(cause, error) : refuse_ended(domain, error);
    }
    *ret_job = failover_add_job(member, JOB_END_TEST, "Removing the test replica of", caller->user);
    log_notice("failover", relationship_vm(member->relationship), "end of the test failover asked for by %s", caller->user);
    service_run_job(member, *ret_job, end_test_job, NULL, NULL);
    return true;
}

/* ---- its making ---- */

static bool
make_overlays(Member *member, Job *job, const StoreRelationship *row, GError **error)
{
    const ReplicationContext *context = &member->service->context;
    uint64_t position;
    PointKind kind;
    if (!failover_find_position(member, row, row->test_point, &position, &kind, error))
        return false;
    g_autoptr(GPtrArray) chain = overlay_undo_chain(context, row, position, error);
    if (chain == NULL)
        return false;
    g_autofree char *run = test_run_folder(context, row), *folder = replica_test_folder(row->folder);
    if (!replica_open_fence(member->replica, error) || !durable_mkdir_passable(folder, error))
        return false;
    job_set_percent(job, 40);
    return overlay_make(context, row, OVERLAY_TEST, chain, run, error);
}

static bool
define_test(Member *member, const StoreRelationship *row, GError **error)
{
    const ReplicationContext *context = &member->service->context;
    g_autofree char *name = service_test_name(row), *blobs = replica_test_blob_folder(row->folder);
    return replica_define_test(context, row, name, error) && tpm_state_install(context, row->test_uuid, blobs, error);
}

static bool
make_test(Member *member, Job *job, const StoreRelationship *row, GError **error)
{
    if (!failover_check_is_off(member, error) || !remove_test(member, row, error) ||
        !failover_apply_for(member, row, row->test_point, error))
        return false;
    job_set_percent(job, 20);
    g_autoptr(StoreRelationship) now = relationship_row(member->relationship);
    if (!make_overlays(member, job, now, error))
        return false;
    job_set_percent(job, 80);
    return define_test(member, now, error);
}

/* A test that was all but made when the daemon died, and started by somebody since, is as good as made. */
static bool
is_started(Member *member, const StoreRelationship *row)
{
    g_autoptr(VirtDomain) domain = virt_host_find(member->service->context.virt, row->test_uuid, NULL);
    return domain != NULL && failover_not_off(domain) != NULL;
}

/* The stage is MAKING in the store: a restart comes back to here. */
static bool
test_job(Member *member, Job *job, void *data, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    bool made = is_started(member, row) ? replica_open_fence(member->replica, error) :
                                          make_test(member, job, row, error);
    if (made && set_stage(member, TEST_MADE, error)) {
        service_look_after_guest(member);
        tally_test_failover(relationship_tally(member->relationship));
        log_notice("failover", row->vm_name,
                   "test failover to %s: VM '%s - Test' can be started; what is received waits until it is removed",
                   row->test_point != NULL ? row->test_point : "the latest point", row->vm_name);
        return true;
    }
    g_autoptr(GError) second = NULL;
    if (!failover_drop_test(member, &second) || !replica_open_disks(member->replica, &second))
        log_error("failover", row->vm_name, "taking the test failover back: %s", second->message);
    return false;
}

static bool
check_no_test(Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    g_autofree char *name = service_test_name(row);
    g_autoptr(GError) cause = NULL;
    if (row->test_stage != TEST_NONE)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "a test failover of VM '%s' runs already; end it first with "
                                  "'virt-replica test-end %s'", row->vm_name, row->vm_name);
    if (row->resync_passes > 0)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot test the failover: a resynchronization of VM '%s' is not complete; wait for "
                                  "its end", row->vm_name);
    g_autoptr(VirtDomain) other = virt_host_find_by_name(member->service->context.virt, name, &cause);
    if (other != NULL)
        return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                                  "cannot test the failover: there is another VM named '%s' on this host; rename or "
                                  "remove it", name);
    if (g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN))
        return true;
    g_propagate_error(error, g_steal_pointer(&cause));
    return false;
}

static bool
begin_test(Member *member, const char *point_id, char **ret_uuid, GError **error)
{
    if (!failover_check_point(member, OPERATION_TEST_FAILOVER, point_id, error) || !check_no_test(member, error))
        return false;
    g_autofree char *uuid = g_uuid_string_random();
    StoreRelationship *edit = relationship_edit(member->relationship);
    ReplicationState next;
    if (!state_table_next(edit->mode, edit->state, edit->resume_state, OPERATION_TEST_FAILOVER, &next, error)) {
        relationship_edit_cancel(member->relationship, edit);
        return false;
    }
    edit->test_stage = TEST_MAKING;
    edit->test_uuid = g_strdup(uuid);
    edit->test_point = g_strdup(point_id);
    if (!relationship_edit_end(member->relationship, edit, error))
        return false;
    *ret_uuid = g_steal_pointer(&uuid);
    return true;
}

bool
failover_test(ReplicationService *service, const Caller *caller, const char *vm_uuid, const char *point_id,
              char **ret_test_uuid, Job **ret_job, GError **error)
{
    *ret_job = NULL;
    const char *what = operation_name(OPERATION_TEST_FAILOVER);
    g_autoptr(Member) member = failover_find_replica(service, vm_uuid, what, true, error);
    if (member == NULL || !relationship_begin_operation(member->relationship, what, error))
        return false;
    GError *cause = NULL;
    if (!begin_test(member, point_id, ret_test_uuid, &cause)) {
        relationship_end_operation(member->relationship);
        return service_fail(cause, error);
    }
    *ret_job = failover_add_job(member, JOB_TEST_FAILOVER, "Test failover of", caller->user);
    job_set_result_vm(*ret_job, *ret_test_uuid);
    log_notice("failover", relationship_vm(member->relationship), "test of %s, asked for by %s",
               point_id != NULL ? point_id : "the latest point", caller->user);
    service_run_job(member, *ret_job, test_job, NULL, NULL);
    return true;
}

/* ---- what was interrupted ---- */

static bool
is_gone(Member *member, const StoreRelationship *row)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(VirtDomain) domain = virt_host_find(member->service->context.virt, row->test_uuid, &cause);
    return domain == NULL && g_error_matches(cause, VIRT_ERROR, VIRT_ERROR_NO_DOMAIN);
}

/* Begins again what @row's stage says; nothing when somebody is at it. */
static void
go_on(Member *member, const StoreRelationship *row, JobType type, const char *title, MemberJobFunc func)
{
    if (!relationship_begin_operation(member->relationship, title, NULL))
        return;
    if (!relationship_has_test(member->relationship, row->test_uuid) ||
        (type == JOB_END_TEST && !set_stage(member, TEST_ENDING, NULL))) {
        relationship_end_operation(member->relationship);
        return;
    }
    g_autoptr(Job) job = failover_add_job(member, type, title, "virt-replicad");
    if (type == JOB_TEST_FAILOVER)
        job_set_result_vm(job, row->test_uuid);
    service_run_job(member, job, func, NULL, NULL);
}

void
failover_resume_test(Member *member, const StoreRelationship *row)
{
    if (row->test_stage == TEST_MAKING) {
        log_notice("failover", row->vm_name, "taking up the test failover that was under way");
        go_on(member, row, JOB_TEST_FAILOVER, "Test failover of", test_job);
    } else if (row->test_stage == TEST_ENDING) {
        go_on(member, row, JOB_END_TEST, "Removing the test replica of", end_test_job);
    } else if (is_gone(member, row)) {
        log_notice("failover", row->vm_name, "the VM of its test failover was removed from libvirt; the test ends");
        go_on(member, row, JOB_END_TEST, "Removing the test replica of", end_test_job);
    }
}
