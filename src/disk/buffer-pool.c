#include "disk/buffer-pool.h"

#define CANCEL_CHECK_USEC (50 * 1000)

struct DiskBufferPool {
    gint       ref_count;
    GMutex     lock; /* for all below */
    GCond      given_back;
    GPtrArray *idle;    /* buffers that nobody uses */
    unsigned   limit;   /* buffers */
    unsigned   in_use;  /* buffers */
    unsigned   waiting; /* threads in disk_buffer_pool_take */
};

DiskBufferPool *
disk_buffer_pool_new(size_t budget_bytes)
{
    DiskBufferPool *self = g_new0(DiskBufferPool, 1);
    self->ref_count = 1;
    self->limit = (unsigned)CLAMP(budget_bytes / DISK_BUFFER_SIZE, 1, G_MAXINT);
    self->idle = g_ptr_array_new_with_free_func(g_free);
    g_mutex_init(&self->lock);
    g_cond_init(&self->given_back);
    return self;
}

DiskBufferPool *
disk_buffer_pool_ref(DiskBufferPool *self)
{
    g_atomic_int_inc(&self->ref_count);
    return self;
}

void
disk_buffer_pool_unref(DiskBufferPool *self)
{
    if (self == NULL || !g_atomic_int_dec_and_test(&self->ref_count))
        return;
    g_assert(self->in_use == 0);
    g_ptr_array_unref(self->idle);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->given_back);
    g_free(self);
}

/* With the lock held. */
static void *
take_now(DiskBufferPool *self)
{
    if (self->in_use >= self->limit)
        return NULL;
    void *buffer = self->idle->len > 0 ? g_ptr_array_steal_index_fast(self->idle, self->idle->len - 1)
                                       : g_try_malloc(DISK_BUFFER_SIZE);
    if (buffer != NULL)
        self->in_use++;
    return buffer;
}

void *
disk_buffer_pool_try_take(DiskBufferPool *self)
{
    g_mutex_lock(&self->lock);
    void *buffer = self->waiting == 0 ? take_now(self) : NULL;
    g_mutex_unlock(&self->lock);
    return buffer;
}

void *
disk_buffer_pool_take(DiskBufferPool *self, const gint *cancelled, GError **error)
{
    bool give_up = false;
    g_mutex_lock(&self->lock);
    void *buffer = take_now(self);
    bool out_of_memory = buffer == NULL && self->in_use == 0;
    self->waiting++;
    while (buffer == NULL && !give_up && !out_of_memory) {
        g_cond_wait_until(&self->given_back, &self->lock, g_get_monotonic_time() + CANCEL_CHECK_USEC);
        give_up = cancelled != NULL && g_atomic_int_get(cancelled) != 0;
        if (!give_up)
            buffer = take_now(self);
        out_of_memory = buffer == NULL && self->in_use == 0;
    }
    self->waiting--;
    g_mutex_unlock(&self->lock);

    if (give_up)
        g_set_error(error, DISK_ERROR, DISK_ERROR_CANCELLED, "Reading the disk was given up.");
    else if (out_of_memory)
        g_set_error(error, DISK_ERROR, DISK_ERROR_IO, "There is no memory for a single buffer of disk data.");
    return buffer;
}

void
disk_buffer_pool_give_back(DiskBufferPool *self, void *buffer)
{
    if (buffer == NULL)
        return;
    g_mutex_lock(&self->lock);
    g_assert(self->in_use > 0);
    self->in_use--;
    g_ptr_array_add(self->idle, buffer);
    g_cond_signal(&self->given_back);
    g_mutex_unlock(&self->lock);
}
