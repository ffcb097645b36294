#include "changelog/gather.h"

#define TIDY_STEP 65536u /* extents collected before the list is sorted for the first time */

struct Gather {
    GArray *extents; /* Extent, as they came */
    guint tidy_at;   /* sort and join when so many are there */
};

Gather *
gather_new(void)
{
    Gather *self = g_new0(Gather, 1);
    self->extents = g_array_new(FALSE, FALSE, sizeof(Extent));
    self->tidy_at = TIDY_STEP;
    return self;
}

void
gather_free(Gather *self)
{
    if (self == NULL)
        return;
    g_array_unref(self->extents);
    g_free(self);
}

static gint
compare_start(gconstpointer a, gconstpointer b)
{
    const Extent *left = a, *right = b;
    return left->start < right->start ? -1 : left->start > right->start;
}

/* Sorts and joins what overlaps or touches. */
static bool
tidy(Gather *self, GError **error)
{
    g_array_sort(self->extents, compare_start);
    guint kept = 0;
    for (guint i = 0; i < self->extents->len; i++) {
        Extent e = g_array_index(self->extents, Extent, i);
        Extent *last = kept > 0 ? &g_array_index(self->extents, Extent, kept - 1) : NULL;
        if (last != NULL && e.start <= last->end)
            last->end = MAX(last->end, e.end);
        else
            g_array_index(self->extents, Extent, kept++) = e;
    }
    g_array_set_size(self->extents, kept);
    if (kept > CHANGE_LOG_EXTENTS_MAX) {
        g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_LIMIT,
                    "A disk has more than %u separate changes: they are too many to be worked on at once.",
                    CHANGE_LOG_EXTENTS_MAX);
        return false;
    }
    self->tidy_at = 2 * kept + TIDY_STEP;
    return true;
}

bool
gather_add(Gather *self, uint64_t start, uint64_t length, GError **error)
{
    if (length == 0)
        return true;
    guint n = self->extents->len;
    Extent *last = n > 0 ? &g_array_index(self->extents, Extent, n - 1) : NULL;
    if (last != NULL && last->start <= start && start <= last->end) {
        last->end = MAX(last->end, start + length);
        return true;
    }
    Extent e = { start, start + length };
    g_array_append_val(self->extents, e);
    return n + 1 < self->tidy_at || tidy(self, error);
}

ExtentSet *
gather_union(Gather *self, const ExtentSet *other, GError **error)
{
    for (size_t i = 0; other != NULL && i < extent_set_count(other); i++)
        g_array_append_vals(self->extents, extent_set_at(other, i), 1);
    if (!tidy(self, error))
        return NULL;
    ExtentSet *set = extent_set_new();
    for (guint i = 0; i < self->extents->len; i++) {
        const Extent *e = &g_array_index(self->extents, Extent, i);
        extent_set_add(set, e->start, e->end - e->start);
    }
    g_array_set_size(self->extents, 0);
    self->tidy_at = TIDY_STEP;
    return set;
}
