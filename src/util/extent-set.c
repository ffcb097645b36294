#include "util/extent-set.h"

struct ExtentSet {
    GArray *extents; /* Extent, sorted, neither overlapping nor touching */
};

ExtentSet *
extent_set_new(void)
{
    ExtentSet *self = g_new0(ExtentSet, 1);
    self->extents = g_array_new(FALSE, FALSE, sizeof(Extent));
    return self;
}

ExtentSet *
extent_set_copy(const ExtentSet *other)
{
    ExtentSet *self = extent_set_new();
    g_array_append_vals(self->extents, other->extents->data, other->extents->len);
    return self;
}

void
extent_set_free(ExtentSet *self)
{
    if (self == NULL)
        return;
    g_array_unref(self->extents);
    g_free(self);
}

size_t
extent_set_count(const ExtentSet *self)
{
    return self->extents->len;
}

const Extent *
extent_set_at(const ExtentSet *self, size_t index)
{
    g_assert(index < self->extents->len);
    return &g_array_index(self->extents, Extent, index);
}

/* Index of the first extent whose end is at or after @position. */
static guint
first_reaching(const ExtentSet *self, uint64_t position)
{
    guint low = 0, high = self->extents->len;
    while (low < high) {
        guint middle = low + (high - low) / 2;
        if (g_array_index(self->extents, Extent, middle).end < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void
extent_set_add(ExtentSet *self, uint64_t start, uint64_t length)
{
    if (length == 0)
        return;
    Extent joined = { start, start + length };
    guint index = first_reaching(self, start);
    guint last = index;
    while (last < self->extents->len) {
        const Extent *e = &g_array_index(self->extents, Extent, last);
        if (e->start > joined.end)
            break;
        joined.start = MIN(joined.start, e->start);
        joined.end = MAX(joined.end, e->end);
        last++;
    }
    if (last > index) {
        g_array_index(self->extents, Extent, index) = joined;
        if (last - index > 1)
            g_array_remove_range(self->extents, index + 1, last - index - 1);
    } else {
        g_array_insert_val(self->extents, index, joined);
    }
}

void
extent_set_remove(ExtentSet *self, uint64_t start, uint64_t length)
{
    if (length == 0)
        return;
    uint64_t end = start + length;
    guint index = first_reaching(self, start);
    while (index < self->extents->len) {
        Extent *e = &g_array_index(self->extents, Extent, index);
        if (e->start >= end)
            break;
        if (e->end <= start) {
            index++;
            continue;
        }
        Extent right = { end, e->end };
        bool keep_left = e->start < start;
        bool keep_right = e->end > end;
        if (keep_left)
            e->end = start;
        if (keep_left && keep_right) {
            g_array_insert_val(self->extents, index + 1, right);
            break;
        }
        if (keep_left) {
            index++;
        } else if (keep_right) {
            e->start = end;
            break;
        } else {
            g_array_remove_index(self->extents, index);
        }
    }
}

void
extent_set_add_set(ExtentSet *self, const ExtentSet *other)
{
    for (size_t i = 0; i < extent_set_count(other); i++) {
        const Extent *e = extent_set_at(other, i);
        extent_set_add(self, e->start, e->end - e->start);
    }
}

void
extent_set_remove_set(ExtentSet *self, const ExtentSet *other)
{
    for (size_t i = 0; i < extent_set_count(other); i++) {
        const Extent *e = extent_set_at(other, i);
        extent_set_remove(self, e->start, e->end - e->start);
    }
}

void
extent_set_clear(ExtentSet *self)
{
    g_array_set_size(self->extents, 0);
}

void
extent_set_align(ExtentSet *self, uint64_t grain, uint64_t limit)
{
    g_autoptr(ExtentSet) old = extent_set_copy(self);
    extent_set_clear(self);
    for (size_t i = 0; i < extent_set_count(old); i++) {
        const Extent *e = extent_set_at(old, i);
        uint64_t start = e->start - e->start % grain;
        uint64_t end = (e->end + grain - 1) / grain * grain;
        end = MIN(end, limit);
        if (end > start)
            extent_set_add(self, start, end - start);
    }
}

uint64_t
extent_set_bytes(const ExtentSet *self)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < extent_set_count(self); i++) {
        const Extent *e = extent_set_at(self, i);
        sum += e->end - e->start;
    }
    return sum;
}

bool
extent_set_contains(const ExtentSet *self, uint64_t start, uint64_t length)
{
    if (length == 0)
        return true;
    guint index = first_reaching(self, start + length);
    if (index >= self->extents->len)
        return false;
    const Extent *e = &g_array_index(self->extents, Extent, index);
    return e->start <= start && start + length <= e->end;
}

ExtentSet *
extent_set_missing(const ExtentSet *self, uint64_t start, uint64_t length)
{
    ExtentSet *missing = extent_set_new();
    extent_set_add(missing, start, length);
    for (guint i = first_reaching(self, start); i < self->extents->len; i++) {
        const Extent *e = &g_array_index(self->extents, Extent, i);
        if (e->start >= start + length)
            break;
        extent_set_remove(missing, e->start, e->end - e->start);
    }
    return missing;
}
