#include "replication/relationship.h"

#include "replication/settings.h"
#include "util/log.h"

struct Relationship {
    gint    references;
    Store  *store;
    char   *vm_uuid;
    unsigned index;
    Tally  *tally;

    GMutex  lock; /* guards all below */
    GCond   changed;
    StoreRelationship    *row;
    RelationshipSettings *settings;
    bool    working, operating, closed;
    char   *operation;  /* what it is, for messages */
    gint    yield_flag; /* atomic: YIELD_OWN when operating || closed, YIELD_UPSTREAM when that is so of what it reads */
    Relationship *downstream; /* (nullable): who reads its disks */
    char   *error;
    gint    runs_at_former;   /* atomic: the VM here and on its former primary */
    gint    runs_twice;       /* atomic: the VM on both hosts, when it was last seen */
    char   *consistent_error; /* of application-consistent points */
    char   *left_out;         /* disks that the VM got and that do not replicate */
    char   *guest_error;      /* of addresses after a failover */
    int64_t captured_usec;
    unsigned percent;
    Job    *job;
};

static RelationshipSettings *
settings_of_row(const StoreRelationship *row, GError **error)
{
    return row->settings != NULL ? relationship_settings_from_json(row->settings, error) : relationship_settings_new();
}

Relationship *
relationship_new(Store *store, StoreRelationship *row, GError **error)
{
    RelationshipSettings *settings = settings_of_row(row, error);
    if (settings == NULL) {
        store_relationship_free(row);
        return NULL;
    }
    Relationship *self = g_new0(Relationship, 1);
    self->references = 1;
    self->store = store;
    self->vm_uuid = g_strdup(row->vm_uuid);
    self->index = row->index;
    self->tally = tally_new(row->vm_name, row->statistics);
    g_mutex_init(&self->lock);
    g_cond_init(&self->changed);
    self->row = row;
    self->settings = settings;
    return self;
}

Relationship *
relationship_ref(Relationship *self)
{
    g_atomic_int_inc(&self->references);
    return self;
}

void
relationship_unref(Relationship *self)
{
    if (self == NULL || !g_atomic_int_dec_and_test(&self->references))
        return;
    g_assert(!self->working);
    g_free(self->vm_uuid);
    tally_free(self->tally);
    store_relationship_free(self->row);
    relationship_settings_free(self->settings);
    g_free(self->operation);
    g_free(self->error);
    g_free(self->consistent_error);
    g_free(self->guest_error);
    g_free(self->left_out);
    job_unref(self->job);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->changed);
    g_free(self);
}

const char *
relationship_vm(const Relationship *self)
{
    return self->vm_uuid;
}

unsigned
relationship_index(const Relationship *self)
{
    return self->index;
}

StoreRelationship *
relationship_row(Relationship *self)
{
    g_mutex_lock(&self->lock);
    StoreRelationship *row = store_relationship_copy(self->row);
    g_mutex_unlock(&self->lock);
    return row;
}

RelationshipSettings *
relationship_settings(Relationship *self)
{
    g_mutex_lock(&self->lock);
    RelationshipSettings *settings = relationship_settings_copy(self->settings);
    g_mutex_unlock(&self->lock);
    return settings;
}

ReplicationState
relationship_state(Relationship *self)
{
    g_mutex_lock(&self->lock);
    ReplicationState state = self->row->state;
    g_mutex_unlock(&self->lock);
    return state;
}

bool
relationship_has_test(Relationship *self, const char *uuid)
{
    g_mutex_lock(&self->lock);
    bool has = self->row->test_uuid != NULL && g_ascii_strcasecmp(self->row->test_uuid, uuid) == 0;
    g_mutex_unlock(&self->lock);
    return has;
}

StoreRelationship *
relationship_edit(Relationship *self)
{
    g_mutex_lock(&self->lock);
    return store_relationship_copy(self->row);
}

void
relationship_edit_cancel(Relationship *self, StoreRelationship *row)
{
    g_mutex_unlock(&self->lock);
    store_relationship_free(row);
}

bool
relationship_edit_end(Relationship *self, StoreRelationship *row, GError **error)
{
    g_autoptr(RelationshipSettings) settings = NULL;
    bool good = !self->closed;
    if (!good)
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE, "VM '%s' no longer replicates",
                    self->vm_uuid);
    good = good && (settings = settings_of_row(row, error)) != NULL;
    g_free(row->statistics);
    row->statistics = good ? tally_text(self->tally) : NULL;
    good = good && store_relationship_save(self->store, row, error);
    if (good) {
        relationship_settings_free(self->settings);
        self->settings = g_steal_pointer(&settings);
        store_relationship_free(self->row);
        self->row = g_steal_pointer(&row);
    }
    g_mutex_unlock(&self->lock);
    store_relationship_free(row);
    return good;
}

Tally *
relationship_tally(Relationship *self)
{
    return self->tally;
}

bool
relationship_save_statistics(Relationship *self, int64_t age_usec, GError **error)
{
    return !tally_is_unsaved(self->tally, age_usec) || relationship_edit_end(self, relationship_edit(self), error);
}

bool
relationship_move(Relationship *self, Operation operation, GError **error)
{
    StoreRelationship *row = relationship_edit(self);
    ReplicationState next;
    if (!state_table_next(row->mode, row->state, row->resume_state, operation, &next, error)) {
        relationship_edit_cancel(self, row);
        return false;
    }
    bool suspended = row->state == STATE_SUSPENDED || row->state == STATE_CRITICAL; /* and knows already what that interrupted */
    if (operation == OPERATION_SUSPEND || (operation == OPERATION_GIVE_UP_ROLE && !suspended))
        row->resume_state = row->state;
    if (operation == OPERATION_CANCEL_RESYNC)
        row->resume_state = STATE_RESYNCHRONIZING; /* as relationship_resync_was_cancelled() reads it */
    else if (operation == OPERATION_CHANGES_LOST)
        row->resume_state = STATE_UNKNOWN;
    row->state = next;
    return relationship_edit_end(self, row, error);
}

bool
relationship_resync_was_cancelled(const StoreRelationship *row)
{
    return row->state == STATE_WAITING_RESYNC && row->resume_state == STATE_RESYNCHRONIZING;
}

enum { YIELD_OWN = 1, YIELD_UPSTREAM = 2 };

static void
set_yield(Relationship *self, unsigned whose, bool yields)
{
    if (yields)
        g_atomic_int_or((guint *)&self->yield_flag, whose);
    else
        g_atomic_int_and((guint *)&self->yield_flag, ~whose);
}

static void
update_yield_flag(Relationship *self)
{
    bool yields = self->operating || self->closed;
    set_yield(self, YIELD_OWN, yields);
    if (self->downstream != NULL)
        set_yield(self->downstream, YIELD_UPSTREAM, yields);
    g_cond_broadcast(&self->changed);
}

void
relationship_set_downstream(Relationship *self, Relationship *downstream)
{
    g_mutex_lock(&self->lock);
    self->downstream = downstream;
    update_yield_flag(self);
    g_mutex_unlock(&self->lock);
}

void
relationship_forget_downstream(Relationship *self, Relationship *downstream)
{
    g_mutex_lock(&self->lock);
    if (self->downstream == downstream)
        self->downstream = NULL;
    g_mutex_unlock(&self->lock);
}

bool
relationship_begin_work(Relationship *self)
{
    g_mutex_lock(&self->lock);
    while (self->working && !self->operating && !self->closed)
        g_cond_wait(&self->changed, &self->lock);
    bool mine = !self->working && !self->operating && !self->closed;
    if (mine)
        self->working = true;
    g_mutex_unlock(&self->lock);
    return mine;
}

void
relationship_end_work(Relationship *self)
{
    g_mutex_lock(&self->lock);
    self->working = false;
    g_cond_broadcast(&self->changed);
    g_mutex_unlock(&self->lock);
}

bool
relationship_should_yield(Relationship *self)
{
    return g_atomic_int_get(&self->yield_flag) != 0;
}

const gint *
relationship_yield_flag(Relationship *self)
{
    return &self->yield_flag;
}

void
relationship_wait_for_work(Relationship *self)
{
    g_mutex_lock(&self->lock);
    while (self->working)
        g_cond_wait(&self->changed, &self->lock);
    g_mutex_unlock(&self->lock);
}

bool
relationship_begin_operation(Relationship *self, const char *what, GError **error)
{
    g_mutex_lock(&self->lock);
    if (self->closed) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_STATE, "VM '%s' no longer replicates",
                    self->row->vm_name);
        g_mutex_unlock(&self->lock);
        return false;
    }
    if (self->operating) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_IN_USE,
                    "cannot %s: the operation '%s' on VM '%s' is still running; wait for it to end", what, self->operation,
                    self->row->vm_name);
        g_mutex_unlock(&self->lock);
        return false;
    }
    self->operating = true;
    g_free(self->operation);
    self->operation = g_strdup(what);
    update_yield_flag(self);
    while (self->working)
        g_cond_wait(&self->changed, &self->lock);
    g_mutex_unlock(&self->lock);
    return true;
}

void
relationship_end_operation(Relationship *self)
{
    g_mutex_lock(&self->lock);
    self->operating = false;
    update_yield_flag(self);
    g_mutex_unlock(&self->lock);
}

void
relationship_close(Relationship *self, bool inside)
{
    g_mutex_lock(&self->lock);
    self->closed = true;
    update_yield_flag(self);
    while (self->working || (self->operating && !inside))
        g_cond_wait(&self->changed, &self->lock);
    g_mutex_unlock(&self->lock);
}

bool
relationship_remove(Relationship *self, const StoreUnfinished *leaves, GError **error)
{
    g_mutex_lock(&self->lock);
    bool good = store_relationship_remove(self->store, self->vm_uuid, self->index, leaves, error);
    if (good) {
        self->closed = true;
        update_yield_flag(self);
    }
    g_mutex_unlock(&self->lock);
    return good;
}

static void
set_runs(Relationship *self, gint *flag, bool twice)
{
    if (g_atomic_int_compare_and_exchange(flag, !twice, twice) && twice)
        log_error("service", self->vm_uuid, "the VM runs on both hosts, each copy with its own changes; turn one of them off");
}

void
relationship_set_runs_twice(Relationship *self, bool twice)
{
    set_runs(self, &self->runs_twice, twice);
}

void
relationship_set_runs_at_former(Relationship *self, bool twice)
{
    set_runs(self, &self->runs_at_former, twice);
}

bool
relationship_runs_at_former(Relationship *self)
{
    return g_atomic_int_get(&self->runs_at_former) != 0;
}

bool
relationship_runs_twice(Relationship *self)
{
    return g_atomic_int_get(&self->runs_twice) != 0 || relationship_runs_at_former(self);
}

bool
relationship_set_error(Relationship *self, const char *text)
{
    g_mutex_lock(&self->lock);
    bool is_new = g_strcmp0(self->error, text) != 0;
    if (is_new) {
        g_free(self->error);
        self->error = g_strdup(text);
    }
    g_mutex_unlock(&self->lock);
    return is_new;
}

char *
relationship_error(Relationship *self)
{
    g_mutex_lock(&self->lock);
    char *text = g_strdup(self->error);
    g_mutex_unlock(&self->lock);
    return text;
}

bool
relationship_set_consistent_error(Relationship *self, const char *text)
{
    g_mutex_lock(&self->lock);
    bool is_new = g_strcmp0(self->consistent_error, text) != 0;
    if (is_new) {
        g_free(self->consistent_error);
        self->consistent_error = g_strdup(text);
    }
    g_mutex_unlock(&self->lock);
    return is_new;
}

static char *
disks_failure_key(const Relationship *self)
{
    return g_strconcat("disk-set-failure:", relationship_vm(self), NULL);
}

bool
relationship_note_disks_failure(Relationship *self, const char *text, GError **error)
{
    g_autofree char *key = disks_failure_key(self);
    return store_value_set(self->store, key, text, error);
}

char *
relationship_disks_failure(Relationship *self)
{
    g_autofree char *key = disks_failure_key(self);
    return store_value(self->store, key, NULL);
}

bool
relationship_set_left_out(Relationship *self, const char *names)
{
    g_mutex_lock(&self->lock);
    bool is_new = g_strcmp0(self->left_out, names) != 0;
    if (is_new) {
        g_free(self->left_out);
        self->left_out = g_strdup(names);
    }
    g_mutex_unlock(&self->lock);
    return is_new;
}

char *
relationship_left_out(Relationship *self)
{
    g_mutex_lock(&self->lock);
    char *text = g_strdup(self->left_out);
    g_mutex_unlock(&self->lock);
    return text;
}

void
relationship_set_guest_error(Relationship *self, const char *text)
{
    g_mutex_lock(&self->lock);
    g_free(self->guest_error);
    self->guest_error = g_strdup(text);
    g_mutex_unlock(&self->lock);
}

char *
relationship_guest_error(Relationship *self)
{
    g_mutex_lock(&self->lock);
    char *text = g_strdup(self->guest_error);
    g_mutex_unlock(&self->lock);
    return text;
}

char *
relationship_consistent_error(Relationship *self)
{
    g_mutex_lock(&self->lock);
    char *text = g_strdup(self->consistent_error);
    g_mutex_unlock(&self->lock);
    return text;
}

void
relationship_set_captured(Relationship *self, int64_t monotonic_usec)
{
    g_mutex_lock(&self->lock);
    self->captured_usec = monotonic_usec;
    g_mutex_unlock(&self->lock);
}

int64_t
relationship_captured(Relationship *self)
{
    g_mutex_lock(&self->lock);
    int64_t captured = self->captured_usec;
    g_mutex_unlock(&self->lock);
    return captured;
}

void
relationship_set_percent(Relationship *self, unsigned percent)
{
    g_mutex_lock(&self->lock);
    self->percent = percent;
    if (self->job != NULL)
        job_set_percent(self->job, percent);
    g_mutex_unlock(&self->lock);
}

unsigned
relationship_percent(Relationship *self)
{
    g_mutex_lock(&self->lock);
    unsigned percent = self->percent;
    g_mutex_unlock(&self->lock);
    return percent;
}

void
relationship_set_job(Relationship *self, Job *job)
{
    g_mutex_lock(&self->lock);
    job_unref(self->job);
    self->job = job != NULL ? job_ref(job) : NULL;
    g_mutex_unlock(&self->lock);
}

void
relationship_end_job(Relationship *self, const GError *error)
{
    g_mutex_lock(&self->lock);
    Job *job = g_steal_pointer(&self->job);
    g_mutex_unlock(&self->lock);
    if (job != NULL)
        job_end(job, error);
    job_unref(job);
}
