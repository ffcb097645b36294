/* Methods of Msvm_ConcreteJob. */
#include "cim/method.h"
#include "cim/names.h"

enum { REQUEST_TERMINATE = 4, REQUEST_KILL = 5, REQUEST_SERVICE = 6, REQUEST_START = 2 };
enum { JOB_NOT_SUPPORTED = 1, JOB_INVALID_PARAMETER = 5, JOB_INVALID_TRANSITION = 4097 };

static Job *
target_job(const MethodCall *call, GError **error)
{
    const char *name = cim_instance_get(call->target, "InstanceID")->v.string;
    g_autofree char *id = guid_of_name(name);
    Job *job = id == NULL ? NULL : job_list_find(replication_service_jobs(call->service), id);

    if (job == NULL)
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                    "Job '%s' is gone: jobs can be read for %d seconds after their end", name, JOB_KEEP_SEC);
    return job;
}

static char *
error_xml(const JobView *job)
{
    CimInstance *instance = cim_instance_new(cim_class_find("root/virtualization/v2", "Msvm_Error"));
    g_autofree char *id = name_of_guid(job->id);
    g_autofree char *source = g_strdup_printf("Msvm_ConcreteJob.InstanceID=\"%s\"", id);
    g_autofree char *message_id = g_strdup_printf("%d", job->error_code);
    char *xml;

    cim_instance_set(instance, "ErrorType", cim_value_new_uint(CIM_UINT16, 4));
    cim_instance_set(instance, "OwningEntity", cim_value_new_string("virt-replica"));
    cim_instance_set(instance, "MessageID", cim_value_new_string(message_id));
    cim_instance_set(instance, "Message",
                     cim_value_new_string(job->error_text == NULL ? "The job failed" : job->error_text));
    cim_instance_set(instance, "PerceivedSeverity", cim_value_new_uint(CIM_UINT16, 4));
    cim_instance_set(instance, "ProbableCause", cim_value_new_uint(CIM_UINT16, 0));
    cim_instance_set(instance, "ErrorSource", cim_value_new_string(source));
    cim_instance_set(instance, "ErrorSourceFormat", cim_value_new_uint(CIM_UINT16, 0));
    cim_instance_set(instance, "CIMStatusCode", cim_value_new_uint(CIM_UINT32, CIM_ERROR_FAILED));
    xml = cim_instance_to_xml(instance);
    cim_instance_free(instance);
    return xml;
}

/* @ret: NULL while nothing has failed */
static bool
read_error(const MethodCall *call, char **ret, GError **error)
{
    g_autoptr(Job) job = target_job(call, error);
    g_autoptr(JobView) view = job == NULL ? NULL : job_view(job);

    if (view == NULL)
        return false;
    *ret = view->error_code != 0 ? error_xml(view) : NULL;
    return true;
}

static bool
get_error(MethodCall *call, GError **error)
{
    g_autofree char *xml = NULL;

    if (!read_error(call, &xml, error))
        return false;
    g_hash_table_insert(call->out, g_strdup("Error"), cim_value_new_string(xml));
    return true;
}

static bool
get_error_ex(MethodCall *call, GError **error)
{
    g_autofree char *xml = NULL;
    CimValue *errors;

    if (!read_error(call, &xml, error))
        return false;
    errors = xml == NULL ? cim_value_new_null(CIM_STRING, true) : cim_value_new_array(CIM_STRING);
    if (xml != NULL)
        cim_value_append(errors, cim_value_new_string(xml));
    g_hash_table_insert(call->out, g_strdup("Errors"), errors);
    return true;
}

static void
refuse(MethodCall *call, uint32_t code, const char *message)
{
    call->code = code;
    call->message = message;
}

static bool
request_state_change(MethodCall *call, GError **error)
{
    g_autoptr(Job) job = target_job(call, error);
    const CimValue *requested = argument(call, "RequestedState");
    Caller caller = { call->user };

    if (job == NULL)
        return false;
    if (requested == NULL || requested->v.uint < REQUEST_START || requested->v.uint > REQUEST_SERVICE)
        refuse(call, JOB_INVALID_PARAMETER, "RequestedState is 4 (terminate) or 5 (kill)");
    else if (requested->v.uint != REQUEST_TERMINATE && requested->v.uint != REQUEST_KILL)
        refuse(call, JOB_NOT_SUPPORTED, "Jobs can only be ended: RequestedState 4 (terminate) or 5 (kill)");
    else if (!replication_service_cancel_job(call->service, &caller, job, NULL))
        refuse(call, JOB_INVALID_TRANSITION, "The job has ended, or cannot be cancelled (property Cancellable)");
    return true;
}

const MethodRow job_methods[] = {
    { "Msvm_ConcreteJob", "GetError", CIM_ROLE_READER, get_error },
    { "Msvm_ConcreteJob", "GetErrorEx", CIM_ROLE_READER, get_error_ex },
    { "Msvm_ConcreteJob", "RequestStateChange", CIM_ROLE_OPERATOR, request_state_change },
    { "Msvm_ConcreteJob", "KillJob", CIM_ROLE_OPERATOR, NULL, JOB_NOT_SUPPORTED },
    { NULL },
};
