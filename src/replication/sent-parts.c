#include "replication/sent-parts.h"

#include "replication/plan.h"
#include "util/durable.h"

static char *
path_of(const ReplicationContext *context, const char *vm_uuid)
{
    g_autofree char *name = g_strdup_printf("%s.sent", vm_uuid);
    return g_build_filename(context->state_folder, name, NULL);
}

/* Sets @ret_sent to NULL when there is nothing since @checkpoint. */
static bool
load(const ReplicationContext *context, const char *vm_uuid, const char *checkpoint, Plan **ret_sent, GError **error)
{
    g_autofree char *path = path_of(context, vm_uuid);
    g_autoptr(GError) cause = NULL;
    g_autoptr(Plan) sent = plan_load(path, &cause);
    *ret_sent = NULL;
    if (cause != NULL) {
        if (durable_unlink(path, error))
            g_set_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST, "what was sent while the VM was off is not known: %s", cause->message);
        return false;
    }
    if (sent != NULL && g_strcmp0(sent->checkpoint, checkpoint) == 0)
        *ret_sent = g_steal_pointer(&sent);
    return true;
}

bool
sent_parts_add(const ReplicationContext *context, const char *vm_uuid, const char *checkpoint, Moment *moment, GError **error)
{
    g_autoptr(Plan) sent = NULL;
    if (!load(context, vm_uuid, checkpoint, &sent, error))
        return false;
    for (unsigned i = 0; sent != NULL && i < moment_disk_count(moment); i++) {
        const MomentDisk *disk = moment_disk(moment, i);
        PlanDisk *parts = plan_disk(sent, disk->id);
        if (parts == NULL || disk->dirty == NULL)
            continue;
        plan_disk_resize(parts, disk->size_bytes);
        extent_set_add_set(disk->dirty, parts->todo);
    }
    return true;
}

static bool
is_known(const Plan *sent, const Moment *moment)
{
    for (unsigned i = 0; i < moment_disk_count(moment); i++) {
        const MomentDisk *disk = moment_disk(moment, i);
        const PlanDisk *parts = sent != NULL ? plan_disk(sent, disk->id) : NULL;
        uint64_t bytes = parts != NULL ? extent_set_bytes(parts->todo) : 0;
        if ((disk->dirty != NULL ? extent_set_bytes(disk->dirty) : 0) != bytes)
            return false;
    }
    return true;
}

bool
sent_parts_note(const ReplicationContext *context, const char *vm_uuid, const char *checkpoint, const Moment *moment, GError **error)
{
    g_autoptr(Plan) before = NULL;
    if (!load(context, vm_uuid, checkpoint, &before, error))
        return false;
    if (is_known(before, moment))
        return true;
    g_autoptr(Plan) sent = plan_new(false, checkpoint);
    for (unsigned i = 0; i < moment_disk_count(moment); i++) {
        const MomentDisk *disk = moment_disk(moment, i);
        PlanDisk *parts = plan_add_disk(sent, disk->id, disk->size_bytes);
        extent_set_clear(parts->todo);
        if (disk->dirty != NULL)
            extent_set_add_set(parts->todo, disk->dirty);
    }
    g_autofree char *path = path_of(context, vm_uuid);
    return plan_save(sent, path, error);
}

bool
sent_parts_forget(const ReplicationContext *context, const char *vm_uuid, GError **error)
{
    g_autofree char *path = path_of(context, vm_uuid);
    return durable_unlink(path, error);
}
