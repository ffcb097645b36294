/* job: one piece of work that a caller may watch to its end.
 *
 * Reference counted, safe from any thread. A finished job is kept for JOB_KEEP_SEC in its JobList.
 */
#pragma once

#include "replication/replication-error.h"

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define JOB_KEEP_SEC 300

typedef enum { /* values of CIM_ConcreteJob.JobState */
    JOB_NEW = 2, JOB_STARTING = 3, JOB_RUNNING = 4, JOB_SUSPENDED = 5, JOB_COMPLETED = 7, JOB_TERMINATED = 8,
    JOB_KILLED = 9, JOB_EXCEPTION = 10,
} JobState;

typedef enum { /* values of Msvm_ConcreteJob.JobType */
    JOB_START_VM = 12, JOB_POWER_OFF = 13, JOB_SHUT_DOWN = 16,
    JOB_MODIFY_SERVICE = 90, JOB_CREATE_RELATIONSHIP = 91, JOB_MODIFY_RELATIONSHIP = 92, JOB_REMOVE_RELATIONSHIP = 93,
    JOB_START_INITIAL = 94, JOB_IMPORT = 95, JOB_STATE_CHANGE = 96, JOB_INITIATE_FAILOVER = 97, JOB_REVERT_FAILOVER = 98,
    JOB_COMMIT_FAILOVER = 99, JOB_PLANNED = 100, JOB_CANCEL_PLANNED = 101, JOB_TEST_FAILOVER = 102,
    JOB_END_TEST = 103, JOB_REVERSE = 104,
    JOB_SENDING_DELTA = 105, JOB_RECEIVING_DELTA = 106, JOB_RESYNC = 107, JOB_RESYNC_EXTENDED = 121,
    JOB_CHANGE_TO_PRIMARY = 123, JOB_TEST_CONNECTION = 115, JOB_SENDING_INITIAL = 116,
    JOB_START_SEEDED = 117, JOB_START_EXPORT = 118, JOB_CHANGE_DISKS = 125,
} JobType;

typedef struct Job Job;
typedef struct {
    char    *id;             /* GUID */
    char    *vm_uuid;        /* (nullable) VM it is about */
    char    *result_vm_uuid; /* (nullable) VM that it makes */
    char    *owner;          /* user who started it */
    char    *description;
    JobType  type;
    JobState state;
    unsigned percent;        /* 0..100 */
    bool     cancellable;
    int      error_code;     /* 0, or a ReplicationError: CIM return code */
    char    *error_text;     /* (nullable) */
    char    *note;           /* (nullable) what its caller should know at its end, one sentence */
    int64_t  submitted_usec, started_usec, changed_usec, ended_usec; /* UTC; 0 when not yet */
} JobView;
void job_view_free(JobView *view);

Job     *job_ref(Job *self);
void     job_unref(Job *self);
JobView *job_view(Job *self);
const char *job_id(const Job *self);
void     job_set_percent(Job *self, unsigned percent);
void     job_set_description(Job *self, const char *text);
void     job_set_note(Job *self, const char *text);
void     job_set_result_vm(Job *self, const char *vm_uuid);
/* Ends it: COMPLETED when @error is NULL, else EXCEPTION with its text. */
void     job_end(Job *self, const GError *error);
bool     job_cancel(Job *self);       /* false when it is not cancellable or has ended */
bool     job_is_cancelled(Job *self);
/* Blocks until the job has ended or @timeout_sec passed; true when ended. */
bool     job_wait(Job *self, unsigned timeout_sec);

typedef struct JobList JobList;
JobList   *job_list_new(void);
void       job_list_free(JobList *self);
Job       *job_list_add(JobList *self, JobType type, const char *vm_uuid, const char *owner, const char *description,
                        bool cancellable); /* already RUNNING */
Job       *job_list_find(JobList *self, const char *id); /* (transfer full)(nullable) */
GPtrArray *job_list_all(JobList *self);                  /* of JobView; ended ones past their time are dropped */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Job, job_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JobView, job_view_free)
