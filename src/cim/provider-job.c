/* Msvm_ConcreteJob */
#include "cim/getters.h"
#include "cim/names.h"

static GPtrArray *
list_jobs(ReplicationService *service, GError **error)
{
    return job_list_all(replication_service_jobs(service));
}

static void *
find_job(ReplicationService *service, const char *key, GError **error)
{
    g_autofree char *id = guid_of_name(key);
    g_autoptr(Job) job = id == NULL ? NULL : job_list_find(replication_service_jobs(service), id);

    return job == NULL ? NULL : job_view(job);
}

static const char *
state_text(JobState state)
{
    switch (state) {
    case JOB_NEW:
        return "Job is new";
    case JOB_STARTING:
        return "Job is starting";
    case JOB_RUNNING:
        return "Job is running";
    case JOB_SUSPENDED:
        return "Job is suspended";
    case JOB_COMPLETED:
        return "Job is completed";
    case JOB_TERMINATED: case JOB_KILLED:
        return "Job was cancelled";
    default:
        return "Job failed";
    }
}

/* Of a job that is done, what its caller should know, if there is something. */
static const char *
status_text(const JobView *job)
{
    return job->state == JOB_COMPLETED && job->note != NULL ? job->note : state_text(job->state);
}

static int64_t
elapsed_usec(const JobView *job)
{
    int64_t end = job->ended_usec != 0 ? job->ended_usec : g_get_real_time();

    return job->started_usec == 0 ? 0 : MAX(end - job->started_usec, 0);
}

DEFINE_MADE_TEXT(job_guid, JobView, name_of_guid(view->id))
DEFINE_TEXT(job_description, JobView, view->description)
DEFINE_TEXT(job_status, JobView, status_text(view))
DEFINE_UINT16(job_state, JobView, view->state)
DEFINE_UINT16(job_type, JobView, view->type)
DEFINE_UINT16(job_percent, JobView, view->percent)
DEFINE_BOOLEAN(job_cancellable, JobView, view->cancellable)
DEFINE_UINT16(job_error_code, JobView, view->error_code)
DEFINE_TEXT(job_error_text, JobView, view->error_text)
DEFINE_TEXT(job_owner, JobView, view->owner)
DEFINE_TIME(job_submitted, JobView, view->submitted_usec)
DEFINE_TIME(job_started, JobView, view->started_usec)
DEFINE_TIME(job_changed, JobView, view->changed_usec)
DEFINE_INTERVAL(job_elapsed, JobView, elapsed_usec(view))
DEFINE_INTERVAL(job_kept, JobView, (int64_t) JOB_KEEP_SEC * G_USEC_PER_SEC)

static const PropertyRow job_rows[] = {
    { "Cancellable", job_cancellable },
    { "Caption", job_description },
    { "DeleteOnCompletion", NULL, "TRUE" },
    { "Description", job_description },
    { "ElapsedTime", job_elapsed },
    { "ElementName", job_description },
    { "ErrorCode", job_error_code },
    { "ErrorDescription", job_error_text },
    { "ErrorSummaryDescription", job_error_text },
    { "HealthState", NULL, "5" },
    { "InstanceID", job_guid },
    { "JobState", job_state },
    { "JobStatus", job_status },
    { "JobType", job_type },
    { "LocalOrUtcTime", NULL, "2" },
    { "Name", job_description },
    { "OperationalStatus", NULL, "2" },
    { "Owner", job_owner },
    { "PercentComplete", job_percent },
    { "StartTime", job_started },
    { "Status", NULL, "OK" },
    { "StatusDescriptions", NULL, "OK" },
    { "TimeBeforeRemoval", job_kept },
    { "TimeOfLastStateChange", job_changed },
    { "TimeSubmitted", job_submitted },
    { NULL },
};

const Provider job_providers[] = {
    { "Msvm_ConcreteJob", "InstanceID", false, list_jobs, find_job, (GDestroyNotify) job_view_free, job_rows },
    { NULL },
};
