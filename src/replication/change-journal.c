#include "replication/change-journal.h"

#include "util/durable.h"
#include "util/log.h"
#include "virt/virt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* A file is a row of records: SHA-256 of the rest, the length of the content as 8 bytes, little endian, and the content, a GVariant of RECORD_TYPE:
 * for each disk its id, its size, and extents as start and end. */
#define RECORD_TYPE   "a(sta(tt))"
#define RECORD_HEADER (CHANGE_LOG_DIGEST_SIZE + 8) /* keeps the content aligned */

typedef struct {
    uint64_t   size_bytes; /* as of the newest record */
    ExtentSet *changed;
} JournalDisk;

typedef struct {
    unsigned    number;
    char       *name, *path;
    GHashTable *disks; /* id, owned -> JournalDisk, owned */
} JournalMoment;

struct ChangeJournal {
    GMutex     lock;
    char      *folder;
    GPtrArray *moments; /* of JournalMoment, oldest first */
    bool       unreadable; /* and not dropped yet: what is in the folder must not be taken for whole later */
};

static void
journal_disk_free(JournalDisk *disk)
{
    extent_set_free(disk->changed);
    g_free(disk);
}

static JournalMoment *
moment_new(const char *folder, unsigned number, const char *name)
{
    JournalMoment *self = g_new0(JournalMoment, 1);
    self->number = number;
    self->name = g_strdup(name);
    self->path = g_strdup_printf("%s/%08u-%s", folder, number, name);
    self->disks = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)journal_disk_free);
    return self;
}

static void
moment_free(JournalMoment *self)
{
    g_hash_table_unref(self->disks);
    g_free(self->name);
    g_free(self->path);
    g_free(self);
}

static JournalDisk *
disk_of(JournalMoment *self, const char *id)
{
    JournalDisk *disk = g_hash_table_lookup(self->disks, id);
    if (disk != NULL)
        return disk;
    disk = g_new0(JournalDisk, 1);
    disk->changed = extent_set_new();
    g_hash_table_insert(self->disks, g_strdup(id), disk);
    return disk;
}

/* ---- records ---- */

static GVariant *
variant_of(const char *id, uint64_t size_bytes, const ExtentSet *changed)
{
    GVariantBuilder builder;
    g_variant_builder_init(&builder, G_VARIANT_TYPE("a(tt)"));
    for (size_t i = 0; changed != NULL && i < extent_set_count(changed); i++)
        g_variant_builder_add(&builder, "(tt)", extent_set_at(changed, i)->start, extent_set_at(changed, i)->end);
    return g_variant_new("(sta(tt))", id, size_bytes, &builder);
}

static void
digest_of(const void *data, size_t length, uint8_t *ret_digest)
{
    gsize size = CHANGE_LOG_DIGEST_SIZE;
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    g_checksum_update(sum, data, (gssize)length);
    g_checksum_get_digest(sum, ret_digest, &size);
}

/* @disks: floating variants of one disk each, taken */
static GByteArray *
record_of(GPtrArray *disks)
{
    g_autoptr(GVariant) content = g_variant_ref_sink(g_variant_new_array(G_VARIANT_TYPE("(sta(tt))"), (GVariant *const *)disks->pdata, disks->len));
    size_t length = g_variant_get_size(content);
    GByteArray *record = g_byte_array_new();
    g_byte_array_set_size(record, (guint)(RECORD_HEADER + length));
    uint64_t stored = GUINT64_TO_LE((uint64_t)length);
    memcpy(record->data + CHANGE_LOG_DIGEST_SIZE, &stored, sizeof stored);
    g_variant_store(content, record->data + RECORD_HEADER);
    digest_of(record->data + CHANGE_LOG_DIGEST_SIZE, record->len - CHANGE_LOG_DIGEST_SIZE, record->data);
    return record;
}

static void
take_disk(JournalMoment *moment, const char *id, uint64_t size_bytes, GVariantIter *extents)
{
    JournalDisk *disk = disk_of(moment, id);
    uint64_t start, end;
    disk->size_bytes = size_bytes;
    while (g_variant_iter_next(extents, "(tt)", &start, &end)) {
        if (start < end)
            extent_set_add(disk->changed, start, end - start);
    }
}

static bool
take_record(JournalMoment *moment, const uint8_t *data, size_t left, size_t *ret_length)
{
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    uint64_t stored;
    if (left < RECORD_HEADER)
        return false;
    memcpy(&stored, data + CHANGE_LOG_DIGEST_SIZE, sizeof stored);
    uint64_t length = GUINT64_FROM_LE(stored);
    if (length > left - RECORD_HEADER)
        return false;
    digest_of(data + CHANGE_LOG_DIGEST_SIZE, sizeof stored + length, digest);
    if (memcmp(digest, data, sizeof digest) != 0)
        return false;
    g_autoptr(GBytes) copy = g_bytes_new(data + RECORD_HEADER, length); /* aligned, as a variant has to be */
    g_autoptr(GVariant) content = g_variant_ref_sink(g_variant_new_from_bytes(G_VARIANT_TYPE(RECORD_TYPE), copy, false));
    GVariantIter disks;
    const char *id;
    uint64_t size_bytes;
    GVariantIter *extents;
    g_variant_iter_init(&disks, content);
    while (g_variant_iter_next(&disks, "(&sta(tt))", &id, &size_bytes, &extents)) {
        take_disk(moment, id, size_bytes, extents);
        g_variant_iter_free(extents);
    }
    *ret_length = RECORD_HEADER + length;
    return true;
}

static bool
load_moment(JournalMoment *moment)
{
    g_autofree char *text = NULL;
    gsize length = 0;
    if (!g_file_get_contents(moment->path, &text, &length, NULL) || length == 0)
        return false;
    for (size_t at = 0, record; at < length; at += record) {
        if (!take_record(moment, (const uint8_t *)text + at, length - at, &record))
            return false;
    }
    return true;
}

/* ---- the folder ---- */

/* The oldest first: what a death in it leaves is whole for the moments that are left, as what could not be noted was not written either. */
static bool
drop_all(ChangeJournal *self, GError **error)
{
    while (self->moments->len > 0) {
        const JournalMoment *moment = g_ptr_array_index(self->moments, 0);
        if (!durable_unlink(moment->path, error))
            return false;
        g_ptr_array_remove_index(self->moments, 0);
    }
    return true;
}

static int
by_number(gconstpointer a, gconstpointer b)
{
    const JournalMoment *one = *(JournalMoment *const *)a, *other = *(JournalMoment *const *)b;
    return one->number < other->number ? -1 : one->number > other->number;
}

static bool
list_moments(ChangeJournal *self)
{
    g_autoptr(GError) cause = NULL;
    g_autoptr(GDir) dir = g_dir_open(self->folder, 0, &cause);
    const char *file;
    while (dir != NULL && (file = g_dir_read_name(dir)) != NULL) {
        char *end = NULL;
        guint64 number = g_ascii_strtoull(file, &end, 10);
        if (end != file && *end == '-' && number < G_MAXUINT)
            g_ptr_array_add(self->moments, moment_new(self->folder, (unsigned)number, end + 1));
    }
    g_ptr_array_sort(self->moments, by_number);
    return dir != NULL || g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT);
}

/* Before anything is kept: nothing of before is known then. */
static bool
drop_unreadable(ChangeJournal *self, GError **error)
{
    if (!self->unreadable)
        return true;
    if (!durable_remove_tree(self->folder, error))
        return false;
    g_ptr_array_set_size(self->moments, 0);
    self->unreadable = false;
    return true;
}

ChangeJournal *
change_journal_open(const char *folder)
{
    ChangeJournal *self = g_new0(ChangeJournal, 1);
    g_mutex_init(&self->lock);
    self->folder = g_strdup(folder);
    self->moments = g_ptr_array_new_with_free_func((GDestroyNotify)moment_free);
    bool good = list_moments(self);
    for (guint i = 0; i < self->moments->len && good; i++)
        good = load_moment(g_ptr_array_index(self->moments, i));
    g_autoptr(GError) error = NULL;
    self->unreadable = !good;
    if (!good)
        log_warning("extended", NULL, "what changed since it was sent on cannot be read in '%s': both sides are compared", folder);
    if (!drop_unreadable(self, &error))
        log_error("extended", NULL, "%s; trying again", error->message);
    return self;
}

void
change_journal_close(ChangeJournal *self)
{
    if (self == NULL)
        return;
    g_ptr_array_unref(self->moments);
    g_free(self->folder);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static bool
find(ChangeJournal *self, const char *name, guint *ret_index)
{
    for (guint i = 0; i < self->moments->len; i++) {
        if (g_strcmp0(((JournalMoment *)g_ptr_array_index(self->moments, i))->name, name) != 0)
            continue;
        *ret_index = i;
        return true;
    }
    return false;
}

bool
change_journal_is_kept(ChangeJournal *self)
{
    g_mutex_lock(&self->lock);
    bool kept = self->unreadable || self->moments->len > 0;
    g_mutex_unlock(&self->lock);
    return kept;
}

/* ---- keeping ---- */

bool
change_journal_cut(ChangeJournal *self, const char *name, const ChangeLogDisk *disks, unsigned n_disks, GError **error)
{
    g_autoptr(GPtrArray) content = g_ptr_array_new();
    g_mutex_lock(&self->lock);
    guint n = self->moments->len;
    unsigned number = n > 0 ? ((JournalMoment *)g_ptr_array_index(self->moments, n - 1))->number + 1 : 1;
    JournalMoment *moment = moment_new(self->folder, number, name);
    for (unsigned i = 0; i < n_disks; i++) {
        g_ptr_array_add(content, variant_of(disks[i].id, disks[i].size_bytes, NULL));
        disk_of(moment, disks[i].id)->size_bytes = disks[i].size_bytes;
    }
    g_autoptr(GByteArray) record = record_of(content);
    bool good = drop_unreadable(self, error) && durable_mkdir(self->folder, error) && durable_replace(moment->path, record->data, record->len, error);
    if (good)
        g_ptr_array_add(self->moments, moment);
    else
        moment_free(moment);
    g_mutex_unlock(&self->lock);
    return good;
}

/* What of @changed, and of the part that was cut off, the moment does not have yet; (transfer full) */
static ExtentSet *
news_of(const JournalDisk *disk, uint64_t size_bytes, const ExtentSet *changed)
{
    ExtentSet *news = changed != NULL ? extent_set_copy(changed) : extent_set_new();
    if (size_bytes < disk->size_bytes)
        extent_set_add(news, size_bytes, disk->size_bytes - size_bytes);
    extent_set_remove_set(news, disk->changed);
    return news;
}

static bool
append(const JournalMoment *moment, const GByteArray *record, GError **error)
{
    int fd = open(moment->path, O_WRONLY | O_APPEND | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, record->data, record->len) == (ssize_t)record->len && fsync(fd) == 0;
    int cause = errno;
    if (fd >= 0)
        close(fd);
    if (!good)
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(cause), "cannot write '%s': %s", moment->path, g_strerror(cause));
    return good;
}

/* Adds to @moment, durably. */
static bool
add(JournalMoment *moment, const ChangeLogDisk *disks, unsigned n_disks, ExtentSet *const *changed, GError **error)
{
    g_autoptr(GPtrArray) content = g_ptr_array_new();
    g_autoptr(GPtrArray) sets = g_ptr_array_new_with_free_func((GDestroyNotify)extent_set_free);
    for (unsigned i = 0; i < n_disks; i++) {
        const JournalDisk *disk = disk_of(moment, disks[i].id);
        ExtentSet *news = news_of(disk, disks[i].size_bytes, changed[i]);
        g_ptr_array_add(sets, news);
        if (extent_set_count(news) > 0 || disk->size_bytes != disks[i].size_bytes)
            g_ptr_array_add(content, variant_of(disks[i].id, disks[i].size_bytes, news));
    }
    if (content->len == 0)
        return true;
    g_autoptr(GByteArray) record = record_of(content);
    if (!append(moment, record, error))
        return false;
    for (unsigned i = 0; i < n_disks; i++) {
        JournalDisk *disk = disk_of(moment, disks[i].id);
        disk->size_bytes = disks[i].size_bytes;
        extent_set_add_set(disk->changed, g_ptr_array_index(sets, i));
    }
    return true;
}

bool
change_journal_note(ChangeJournal *self, const ChangeLogDisk *disks, unsigned n_disks, ExtentSet *const *changed, GError **error)
{
    g_autoptr(GError) cause = NULL;
    g_mutex_lock(&self->lock);
    if (!drop_unreadable(self, error)) {
        g_mutex_unlock(&self->lock);
        return false;
    }
    guint n = self->moments->len;
    bool good = n == 0 || add(g_ptr_array_index(self->moments, n - 1), disks, n_disks, changed, &cause);
    if (!good) {
        log_warning("extended", NULL, "what is to be sent on to a third host cannot be kept: %s; both sides are compared", cause->message);
        self->unreadable = true;
        good = drop_all(self, error);
        self->unreadable = !good;
    }
    g_mutex_unlock(&self->lock);
    return good;
}

/* ---- reading ---- */

ExtentSet *
change_journal_since(ChangeJournal *self, const char *name, const char *disk, uint64_t size_bytes, GError **error)
{
    guint first = 0;
    g_mutex_lock(&self->lock);
    bool known = !self->unreadable && find(self, name, &first);
    ExtentSet *changed = known ? extent_set_new() : NULL;
    for (guint i = first; known && i < self->moments->len; i++) {
        const JournalMoment *moment = g_ptr_array_index(self->moments, i);
        const JournalDisk *kept = g_hash_table_lookup(moment->disks, disk);
        known = i > first || kept != NULL;
        if (kept != NULL)
            extent_set_add_set(changed, kept->changed);
    }
    g_mutex_unlock(&self->lock);
    if (!known) {
        g_clear_pointer(&changed, extent_set_free);
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BITMAP_LOST, "disk '%s': what changed since '%s' is not known", disk, name);
        return NULL;
    }
    extent_set_remove(changed, size_bytes, UINT64_MAX - size_bytes);
    return changed;
}

/* ---- deleting ---- */

static bool
give_to(JournalMoment *older, JournalMoment *moment, GError **error)
{
    ChangeLogDisk disks[CHANGE_LOG_DISKS_MAX];
    ExtentSet *changed[CHANGE_LOG_DISKS_MAX];
    unsigned n = 0;
    GHashTableIter iter;
    gpointer id, value;
    g_hash_table_iter_init(&iter, moment->disks);
    while (n < CHANGE_LOG_DISKS_MAX && g_hash_table_iter_next(&iter, &id, &value)) {
        const JournalDisk *disk = value;
        g_strlcpy(disks[n].id, id, sizeof disks[n].id);
        disks[n].size_bytes = disk->size_bytes;
        changed[n++] = disk->changed;
    }
    return add(older, disks, n, changed, error);
}

static bool
delete_locked(ChangeJournal *self, guint index, GError **error)
{
    JournalMoment *moment = g_ptr_array_index(self->moments, index);
    if (index > 0 && !give_to(g_ptr_array_index(self->moments, index - 1), moment, error))
        return false;
    if (!durable_unlink(moment->path, error))
        return false;
    g_ptr_array_remove_index(self->moments, index);
    return true;
}

bool
change_journal_delete(ChangeJournal *self, const char *name, GError **error)
{
    guint index;
    g_mutex_lock(&self->lock);
    bool good = !find(self, name, &index) || delete_locked(self, index, error);
    g_mutex_unlock(&self->lock);
    return good;
}

bool
change_journal_delete_others(ChangeJournal *self, const char *keep, const char *keep_too, GError **error)
{
    bool good = true;
    g_mutex_lock(&self->lock);
    for (guint i = 0; i < self->moments->len && good;) {
        const JournalMoment *moment = g_ptr_array_index(self->moments, i);
        if (g_strcmp0(moment->name, keep) == 0 || g_strcmp0(moment->name, keep_too) == 0)
            i++;
        else
            good = delete_locked(self, i, error);
    }
    g_mutex_unlock(&self->lock);
    return good;
}
