#include "wsman/enumeration.h"

#include "wsman/fault.h"
#include "wsman/unique.h"

struct EnumerationTable {
    GMutex      lock;
    GHashTable *by_id; /* id -> Enumeration, owned */
    gint64      idle_usec;
    guint       max_per_user, max_total;
};

Enumeration *
enumeration_new(const char *user, GPtrArray *items, bool is_xml, EnumerationMode mode, ValueStyle style)
{
    Enumeration *self = g_new0(Enumeration, 1);

    self->id = unique_uri(false);
    self->user = g_strdup(user);
    self->items = items;
    self->is_xml = is_xml;
    self->mode = mode;
    self->style = style;
    return self;
}

void
enumeration_free(Enumeration *self)
{
    if (self == NULL)
        return;
    g_free(self->id);
    g_free(self->user);
    g_ptr_array_unref(self->items);
    g_free(self);
}

static void
free_entry(void *enumeration)
{
    enumeration_free(enumeration);
}

EnumerationTable *
enumeration_table_new(gint64 idle_usec, guint max_per_user, guint max_total)
{
    EnumerationTable *self = g_new0(EnumerationTable, 1);

    g_mutex_init(&self->lock);
    self->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, free_entry);
    self->idle_usec = idle_usec;
    self->max_per_user = max_per_user;
    self->max_total = max_total;
    return self;
}

void
enumeration_table_free(EnumerationTable *self)
{
    if (self == NULL)
        return;
    g_hash_table_unref(self->by_id);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static gboolean
is_expired(void *key, void *value, void *oldest)
{
    return ((const Enumeration *)value)->last_used_usec < *(const gint64 *)oldest;
}

/* Every use of the table sweeps it, so nothing expired is seen and no timer is needed. */
static void
sweep(EnumerationTable *self)
{
    gint64 oldest = g_get_monotonic_time() - self->idle_usec;

    g_hash_table_foreach_remove(self->by_id, is_expired, &oldest);
}

static guint
count_of_user(const EnumerationTable *self, const char *user)
{
    GHashTableIter iter;
    void *value = NULL;
    guint count = 0;

    g_hash_table_iter_init(&iter, self->by_id);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        count += g_str_equal(((const Enumeration *)value)->user, user) ? 1 : 0;
    return count;
}

static void
insert(EnumerationTable *self, Enumeration *enumeration)
{
    enumeration->last_used_usec = g_get_monotonic_time();
    g_hash_table_insert(self->by_id, enumeration->id, enumeration);
}

bool
enumeration_table_add(EnumerationTable *self, Enumeration *enumeration, GError **error)
{
    bool full = false;

    g_mutex_lock(&self->lock);
    sweep(self);
    full = g_hash_table_size(self->by_id) >= self->max_total ||
           count_of_user(self, enumeration->user) >= self->max_per_user;
    if (!full)
        insert(self, enumeration);
    g_mutex_unlock(&self->lock);
    if (full)
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_QUOTA,
                    "Too many enumerations are open; pull them to their end or release "
                    "them. A user may have %u.", self->max_per_user);
    return !full;
}

Enumeration *
enumeration_table_take(EnumerationTable *self, const char *id, const char *user, GError **error)
{
    Enumeration *enumeration = NULL;

    g_mutex_lock(&self->lock);
    sweep(self);
    enumeration = g_hash_table_lookup(self->by_id, id);
    if (enumeration != NULL && g_str_equal(enumeration->user, user))
        g_hash_table_steal(self->by_id, id);
    else
        enumeration = NULL;
    g_mutex_unlock(&self->lock);
    if (enumeration == NULL)
        g_set_error(error, WSMAN_ERROR, WSMAN_ERROR_ENUMERATION_CONTEXT,
                    "The enumeration context is not valid: it has ended, "
                    "expired, or was never given to this user.");
    return enumeration;
}

void
enumeration_table_put_back(EnumerationTable *self, Enumeration *enumeration)
{
    g_mutex_lock(&self->lock);
    insert(self, enumeration);
    g_mutex_unlock(&self->lock);
}

guint
enumeration_table_count(EnumerationTable *self)
{
    guint count = 0;

    g_mutex_lock(&self->lock);
    sweep(self);
    count = g_hash_table_size(self->by_id);
    g_mutex_unlock(&self->lock);
    return count;
}
