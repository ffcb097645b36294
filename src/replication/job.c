#include "replication/job.h"

#include <string.h>

struct Job {
    gint    references;
    GMutex  lock; /* guards view and cancelled */
    GCond   ended;
    JobView view;
    bool    cancelled;
    int64_t ended_monotonic_usec; /* no clock that jumps takes a job away early */
};

struct JobList {
    GMutex     lock;
    GHashTable *jobs; /* id -> Job, one reference */
};

static void
view_clear(JobView *view)
{
    g_free(view->id);
    g_free(view->vm_uuid);
    g_free(view->result_vm_uuid);
    g_free(view->owner);
    g_free(view->description);
    g_free(view->error_text);
    g_free(view->note);
}

void
job_view_free(JobView *view)
{
    if (view == NULL)
        return;
    view_clear(view);
    g_free(view);
}

Job *
job_ref(Job *self)
{
    g_atomic_int_inc(&self->references);
    return self;
}

void
job_unref(Job *self)
{
    if (self == NULL || !g_atomic_int_dec_and_test(&self->references))
        return;
    view_clear(&self->view);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->ended);
    g_free(self);
}

static bool
has_ended(const JobView *view)
{
    return view->ended_usec != 0;
}

JobView *
job_view(Job *self)
{
    JobView *copy = g_new(JobView, 1);
    g_mutex_lock(&self->lock);
    *copy = self->view;
    copy->id = g_strdup(copy->id);
    copy->vm_uuid = g_strdup(copy->vm_uuid);
    copy->result_vm_uuid = g_strdup(copy->result_vm_uuid);
    copy->owner = g_strdup(copy->owner);
    copy->description = g_strdup(copy->description);
    copy->error_text = g_strdup(copy->error_text);
    copy->note = g_strdup(copy->note);
    g_mutex_unlock(&self->lock);
    return copy;
}

const char *
job_id(const Job *self)
{
    return self->view.id;
}

void
job_set_percent(Job *self, unsigned percent)
{
    g_mutex_lock(&self->lock);
    if (!has_ended(&self->view))
        self->view.percent = MIN(percent, 99);
    g_mutex_unlock(&self->lock);
}

void
job_set_description(Job *self, const char *text)
{
    g_mutex_lock(&self->lock);
    g_free(self->view.description);
    self->view.description = g_strdup(text);
    g_mutex_unlock(&self->lock);
}

void
job_set_note(Job *self, const char *text)
{
    g_mutex_lock(&self->lock);
    g_free(self->view.note);
    self->view.note = g_strdup(text);
    g_mutex_unlock(&self->lock);
}

void
job_set_result_vm(Job *self, const char *vm_uuid)
{
    g_mutex_lock(&self->lock);
    g_free(self->view.result_vm_uuid);
    self->view.result_vm_uuid = g_strdup(vm_uuid);
    g_mutex_unlock(&self->lock);
}

void
job_end(Job *self, const GError *error)
{
    g_mutex_lock(&self->lock);
    JobView *view = &self->view;
    if (!has_ended(view)) {
        view->ended_usec = view->changed_usec = g_get_real_time();
        self->ended_monotonic_usec = g_get_monotonic_time();
        view->cancellable = false;
        if (error == NULL) {
            view->state = JOB_COMPLETED;
            view->percent = 100;
        } else {
            view->state = self->cancelled ? JOB_TERMINATED : JOB_EXCEPTION;
            view->error_code = error->domain == REPLICATION_ERROR ? error->code : REPLICATION_ERROR_FAILED;
            view->error_text = g_strdup(error->message);
        }
        g_cond_broadcast(&self->ended);
    }
    g_mutex_unlock(&self->lock);
}

bool
job_cancel(Job *self)
{
    g_mutex_lock(&self->lock);
    bool possible = self->view.cancellable && !has_ended(&self->view);
    if (possible)
        self->cancelled = true;
    g_mutex_unlock(&self->lock);
    return possible;
}

bool
job_is_cancelled(Job *self)
{
    g_mutex_lock(&self->lock);
    bool cancelled = self->cancelled;
    g_mutex_unlock(&self->lock);
    return cancelled;
}

bool
job_wait(Job *self, unsigned timeout_sec)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)timeout_sec * G_USEC_PER_SEC;
    g_mutex_lock(&self->lock);
    while (!has_ended(&self->view) && g_cond_wait_until(&self->ended, &self->lock, deadline))
        ;
    bool ended = has_ended(&self->view);
    g_mutex_unlock(&self->lock);
    return ended;
}

JobList *
job_list_new(void)
{
    JobList *self = g_new0(JobList, 1);
    g_mutex_init(&self->lock);
    self->jobs = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)job_unref);
    return self;
}

void
job_list_free(JobList *self)
{
    if (self == NULL)
        return;
    g_hash_table_unref(self->jobs);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static gboolean
is_past_its_time(gpointer key, gpointer value, gpointer user_data)
{
    Job *job = value;
    int64_t now = *(int64_t *)user_data; /* monotonic */
    g_mutex_lock(&job->lock);
    bool past = has_ended(&job->view) && now - job->ended_monotonic_usec > (int64_t)JOB_KEEP_SEC * G_USEC_PER_SEC;
    g_mutex_unlock(&job->lock);
    return past;
}

static void
drop_old_locked(JobList *self)
{
    int64_t now = g_get_monotonic_time();
    g_hash_table_foreach_remove(self->jobs, is_past_its_time, &now);
}

Job *
job_list_add(JobList *self, JobType type, const char *vm_uuid, const char *owner, const char *description,
             bool cancellable)
{
    Job *job = g_new0(Job, 1);
    job->references = 2;
    g_mutex_init(&job->lock);
    g_cond_init(&job->ended);
    JobView *view = &job->view;
    g_autofree char *id = g_uuid_string_random();
    view->id = g_ascii_strup(id, -1);
    view->vm_uuid = g_strdup(vm_uuid);
    view->owner = g_strdup(owner);
    view->description = g_strdup(description);
    view->type = type;
    view->state = JOB_RUNNING;
    view->cancellable = cancellable;
    view->submitted_usec = view->started_usec = view->changed_usec = g_get_real_time();

    g_mutex_lock(&self->lock);
    drop_old_locked(self);
    g_hash_table_insert(self->jobs, view->id, job);
    g_mutex_unlock(&self->lock);
    return job;
}

Job *
job_list_find(JobList *self, const char *id)
{
    g_autofree char *upper = g_ascii_strup(id, -1);
    g_mutex_lock(&self->lock);
    Job *job = g_hash_table_lookup(self->jobs, upper);
    if (job != NULL)
        job_ref(job);
    g_mutex_unlock(&self->lock);
    return job;
}

GPtrArray *
job_list_all(JobList *self)
{
    GPtrArray *views = g_ptr_array_new_with_free_func((GDestroyNotify)job_view_free);
    g_mutex_lock(&self->lock);
    drop_old_locked(self);
    GHashTableIter iter;
    gpointer job;
    g_hash_table_iter_init(&iter, self->jobs);
    while (g_hash_table_iter_next(&iter, NULL, &job))
        g_ptr_array_add(views, job_view(job));
    g_mutex_unlock(&self->lock);
    return views;
}
