#include "cim/method.h"
#include "cim/names.h"

#define JOB_STARTED 4096

const char *
cim_role_name(CimRole role)
{
    static const char *const names[] = {
        [CIM_ROLE_NONE] = "none", [CIM_ROLE_READER] = "reader", [CIM_ROLE_OPERATOR] = "operator",
        [CIM_ROLE_ADMINISTRATOR] = "administrator",
    };

    return names[role];
}

const MethodRow *
method_find(const CimClass *cim_class, const char *name)
{
    const MethodRow *const tables[] = { replication_methods, system_methods, job_methods, management_methods };

    for (unsigned i = 0; i < G_N_ELEMENTS(tables); i++) {
        for (const MethodRow *row = tables[i]; row->class_name != NULL; row++) {
            if (g_ascii_strcasecmp(row->class_name, cim_class->name) == 0 && g_ascii_strcasecmp(row->name, name) == 0)
                return row;
        }
    }
    return NULL;
}

/* Errors of reading an argument; all else is ours. */
static uint32_t
code_of_error(const GError *error)
{
    if (error->domain == REPLICATION_ERROR)
        return (uint32_t) error->code;
    if (error->domain != CIM_ERROR)
        return REPLICATION_ERROR_FAILED;
    return error->code == CIM_ERROR_TYPE_MISMATCH ? REPLICATION_ERROR_WRONG_TYPE : REPLICATION_ERROR_INVALID_PARAMETER;
}

static void
set_job(MethodCall *call)
{
    g_autofree char *id = name_of_guid(job_id(call->job));
    CimPath *path = cim_path_new("root/virtualization/v2", "Msvm_ConcreteJob");

    cim_path_add(path, "InstanceID", cim_value_new_string(id));
    g_hash_table_insert(call->out, g_strdup("Job"), cim_value_new_reference(path));
    call->code = JOB_STARTED;
}

void
method_run(const MethodRow *row, const CimCaller *caller, MethodCall *call, char **ret_message)
{
    g_autoptr(GError) error = NULL;

    if (caller->role < row->role) {
        call->code = REPLICATION_ERROR_ACCESS_DENIED;
        *ret_message = g_strdup_printf("User '%s' has the role '%s', but %s needs '%s'; ask an administrator of this host for it",
                                       caller->user, cim_role_name(caller->role), row->name, cim_role_name(row->role));
    } else if (row->run == NULL) {
        call->code = row->code;
        *ret_message = g_strdup_printf("%s.%s is not supported by virt-replica", row->class_name, row->name);
    } else if (!row->run(call, &error)) {
        call->code = code_of_error(error);
        *ret_message = g_strdup(error->message);
    } else if (call->job != NULL)
        set_job(call);
    else
        *ret_message = g_strdup(call->message);
}
