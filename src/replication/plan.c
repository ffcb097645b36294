#include "replication/plan.h"

#include "changelog/changelog.h"
#include "util/durable.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The file: text lines, because a plan is small and a person may want to look at it.
 *
 *   plan 1 PASS COMPARE TOTAL CHECKPOINT|-
 *   disk ID SIZE
 *   todo START END        (of the disk above)
 *   end
 */
#define PLAN_VERSION 1

static void
plan_disk_free(PlanDisk *disk)
{
    g_free(disk->id);
    extent_set_free(disk->todo);
    g_free(disk);
}

Plan *
plan_new(bool compare, const char *checkpoint)
{
    Plan *self = g_new0(Plan, 1);
    self->compare = compare;
    self->checkpoint = g_strdup(checkpoint);
    self->disks = g_ptr_array_new_with_free_func((GDestroyNotify)plan_disk_free);
    return self;
}

void
plan_free(Plan *self)
{
    if (self == NULL)
        return;
    g_free(self->checkpoint);
    g_ptr_array_unref(self->disks);
    g_free(self);
}

PlanDisk *
plan_disk(const Plan *self, const char *id)
{
    for (guint i = 0; i < self->disks->len; i++) {
        PlanDisk *disk = g_ptr_array_index(self->disks, i);
        if (strcmp(disk->id, id) == 0)
            return disk;
    }
    return NULL;
}

static PlanDisk *
add_empty_disk(Plan *self, const char *id, uint64_t size_bytes)
{
    PlanDisk *disk = g_new0(PlanDisk, 1);
    disk->id = g_strdup(id);
    disk->size_bytes = size_bytes;
    disk->todo = extent_set_new();
    g_ptr_array_add(self->disks, disk);
    return disk;
}

PlanDisk *
plan_add_disk(Plan *self, const char *id, uint64_t size_bytes)
{
    PlanDisk *disk = add_empty_disk(self, id, size_bytes);
    extent_set_add(disk->todo, 0, size_bytes);
    return disk;
}

void
plan_disk_resize(PlanDisk *disk, uint64_t size_bytes)
{
    if (size_bytes > disk->size_bytes)
        extent_set_add(disk->todo, disk->size_bytes, size_bytes - disk->size_bytes);
    else if (size_bytes < disk->size_bytes)
        extent_set_remove(disk->todo, size_bytes, disk->size_bytes - size_bytes);
    disk->size_bytes = size_bytes;
}

ExtentSet *
plan_disk_window(const PlanDisk *disk, uint64_t bytes, uint64_t *ret_window)
{
    uint64_t first = extent_set_at(disk->todo, 0)->start;
    uint64_t window = first - first % CHANGE_LOG_GRAIN;
    ExtentSet *part = extent_set_new();
    for (size_t i = 0; i < extent_set_count(disk->todo); i++) {
        const Extent *extent = extent_set_at(disk->todo, i);
        if (extent->start >= window + bytes)
            break;
        extent_set_add(part, extent->start, MIN(extent->end, window + bytes) - extent->start);
    }
    *ret_window = window;
    return part;
}

uint64_t
plan_left(const Plan *self)
{
    uint64_t left = 0;
    for (guint i = 0; i < self->disks->len; i++)
        left += extent_set_bytes(((PlanDisk *)g_ptr_array_index(self->disks, i))->todo);
    return left;
}

unsigned
plan_percent(const Plan *self)
{
    uint64_t left = plan_left(self);
    if (self->total_bytes == 0 || left >= self->total_bytes)
        return 0;
    return (unsigned)((self->total_bytes - left) / (self->total_bytes / 100 + 1));
}

bool
plan_save(const Plan *self, const char *path, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, "plan %d %u %d %" PRIu64 " %s\n", PLAN_VERSION, self->pass, self->compare,
                           self->total_bytes, self->checkpoint != NULL ? self->checkpoint : "-");
    for (guint i = 0; i < self->disks->len; i++) {
        const PlanDisk *disk = g_ptr_array_index(self->disks, i);
        g_string_append_printf(text, "disk %s %" PRIu64 "\n", disk->id, disk->size_bytes);
        for (size_t j = 0; j < extent_set_count(disk->todo); j++) {
            const Extent *extent = extent_set_at(disk->todo, j);
            g_string_append_printf(text, "todo %" PRIu64 " %" PRIu64 "\n", extent->start, extent->end);
        }
    }
    g_string_append(text, "end\n");
    return durable_replace(path, text->str, text->len, error);
}

static Plan *
parse_head(const char *line)
{
    int version = 0, compare = 0;
    unsigned pass = 0;
    uint64_t total = 0;
    char checkpoint[128] = "";
    if (sscanf(line, "plan %d %u %d %" SCNu64 " %127s", &version, &pass, &compare, &total, checkpoint) != 5 ||
        version != PLAN_VERSION)
        return NULL;
    Plan *self = plan_new(compare != 0, strcmp(checkpoint, "-") != 0 ? checkpoint : NULL);
    self->pass = pass;
    self->total_bytes = total;
    return self;
}

/* False when the line is none of a plan. */
static bool
parse_line(Plan *self, const char *line, PlanDisk **current)
{
    char id[64];
    uint64_t first, second;
    if (sscanf(line, "disk %63s %" SCNu64, id, &first) == 2) {
        *current = add_empty_disk(self, id, first);
        return true;
    }
    if (*current != NULL && sscanf(line, "todo %" SCNu64 " %" SCNu64, &first, &second) == 2 && first < second) {
        extent_set_add((*current)->todo, first, second - first);
        return true;
    }
    return false;
}

Plan *
plan_load(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) cause = NULL;
    if (!g_file_get_contents(path, &text, NULL, &cause)) {
        if (!g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            g_propagate_error(error, g_steal_pointer(&cause));
        return NULL;
    }
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(Plan) self = parse_head(lines[0] != NULL ? lines[0] : "");
    PlanDisk *current = NULL;
    for (char **line = lines; self != NULL && line[0] != NULL && line[1] != NULL; line++) {
        if (strcmp(line[1], "end") == 0)
            return g_steal_pointer(&self);
        if (!parse_line(self, line[1], &current))
            break;
    }
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "'%s' is damaged; it will be made anew", path);
    return NULL;
}
