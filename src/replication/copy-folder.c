#include "replication/copy-folder.h"

#include "util/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The list: text lines, as a person may want to look at it.
 *
 *   first-copy 1
 *   vm UUID
 *   name NAME
 *   lineage UUID
 *   log BYTES DIGEST      for each log, in their order
 *   complete USEC         only when it is
 *   end SHA-256           of all the lines before
 */
#define VERSION        1
#define LIST           "first-copy"
#define LIST_MAX_BYTES (64 * 1024 * 1024)
#define NAME_MAX_BYTES 180 /* of a VM, in the name of its folder */

G_DEFINE_QUARK(copy-folder-error-quark, copy_folder_error)

CopyFolder *
copy_folder_new(const char *vm_uuid, const char *vm_name, const char *lineage)
{
    CopyFolder *self = g_new0(CopyFolder, 1);
    self->vm_uuid = g_strdup(vm_uuid);
    self->vm_name = g_strdup(vm_name);
    self->lineage = g_strdup(lineage);
    self->logs = g_array_new(FALSE, TRUE, sizeof(CopyLog));
    return self;
}

void
copy_folder_free(CopyFolder *self)
{
    if (self == NULL)
        return;
    g_free(self->vm_uuid);
    g_free(self->vm_name);
    g_free(self->lineage);
    g_array_unref(self->logs);
    g_free(self);
}

bool
copy_folder_set_log(CopyFolder *self, unsigned number, const CopyLog *log)
{
    if (number == 0 || number > self->logs->len + 1)
        return false;
    g_array_set_size(self->logs, number - 1);
    g_array_append_val(self->logs, *log);
    self->taken_usec = 0;
    return true;
}

/* ---- paths ---- */

char *
copy_folder_new_path(const char *location, const char *vm_name)
{
    g_autofree char *guid = g_uuid_string_random();
    g_autofree char *name = g_strndup(vm_name, NAME_MAX_BYTES);
    const char *end;
    if (!g_utf8_validate(name, -1, &end))
        *(char *)end = '\0'; /* in the middle of a letter */
    for (char *c = name; *c != '\0'; c++)
        *c = *c == '/' || (unsigned char)*c < ' ' ? '_' : *c;
    g_autofree char *base = g_strdup_printf("%s_%s", name, guid);
    return g_build_filename(location, base, NULL);
}

char *
copy_folder_log_path(const char *folder, unsigned number)
{
    return g_strdup_printf("%s/%06u.log", folder, number);
}

/* ---- writing ---- */

static void
append_digest(GString *text, const uint8_t *digest)
{
    for (size_t i = 0; i < CHANGE_LOG_DIGEST_SIZE; i++)
        g_string_append_printf(text, "%02x", digest[i]);
}

bool
copy_folder_save(const CopyFolder *self, const char *folder, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_string_append_printf(text, LIST " %d\nvm %s\nname %s\nlineage %s\n", VERSION, self->vm_uuid, self->vm_name, self->lineage);
    for (guint i = 0; i < self->logs->len; i++) {
        const CopyLog *log = &g_array_index(self->logs, CopyLog, i);
        g_string_append_printf(text, "log %" PRIu64 " ", log->bytes);
        append_digest(text, log->digest);
        g_string_append_c(text, '\n');
    }
    if (self->taken_usec != 0)
        g_string_append_printf(text, "complete %" PRId64 "\n", self->taken_usec);
    g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text->str, text->len);
    g_string_append_printf(text, "end %s\n", sum);
    g_autofree char *path = g_build_filename(folder, LIST, NULL);
    return durable_replace(path, text->str, text->len, error);
}

/* ---- reading ---- */

static CopyFolder *
damaged(const char *folder, GError **error)
{
    g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED,
                "the list of the first copy in '%s' is damaged; bring it from the primary once more", folder);
    return NULL;
}

static bool
parse_digest(const char *text, uint8_t *ret_digest)
{
    if (strlen(text) != 2 * CHANGE_LOG_DIGEST_SIZE)
        return false;
    for (size_t i = 0; i < CHANGE_LOG_DIGEST_SIZE; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = g_ascii_xdigit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret_digest[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool
parse_line(CopyFolder *self, const char *line)
{
    char digest[2 * CHANGE_LOG_DIGEST_SIZE + 1] = "";
    CopyLog log;
    if (sscanf(line, "log %" SCNu64 " %64s", &log.bytes, digest) == 2)
        return self->taken_usec == 0 && log.bytes <= G_MAXINT64 && parse_digest(digest, log.digest) &&
               copy_folder_set_log(self, self->logs->len + 1, &log);
    return sscanf(line, "complete %" SCNd64, &self->taken_usec) == 1 && self->taken_usec > 0;
}

/* What is behind @word in @line; NULL when it is another. */
static const char *
after(const char *line, const char *word)
{
    return line != NULL && g_str_has_prefix(line, word) ? line + strlen(word) : NULL;
}

static CopyFolder *
parse(char *const *lines, const char *folder, GError **error)
{
    if (g_strv_length((char **)lines) < 4 || strcmp(lines[0], LIST " 1") != 0)
        return damaged(folder, error);
    const char *vm = after(lines[1], "vm "), *name = after(lines[2], "name "), *lineage = after(lines[3], "lineage ");
    if (vm == NULL || name == NULL || lineage == NULL)
        return damaged(folder, error);
    g_autoptr(CopyFolder) self = copy_folder_new(vm, name, lineage);
    for (char *const *line = lines + 4; *line != NULL; line++) {
        if (!parse_line(self, *line))
            return damaged(folder, error);
    }
    return g_steal_pointer(&self);
}

/* Cuts the last line off when it is the checksum of what is before it. */
static bool
check_sum(char *text)
{
    char *end = g_strrstr(text, "\nend ");
    if (end == NULL)
        return false;
    g_autofree char *sum = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text, (gsize)(end + 1 - text));
    g_autofree char *wanted = g_strdup_printf("end %s\n", sum);
    bool good = strcmp(end + 1, wanted) == 0;
    *end = '\0';
    return good;
}

CopyFolder *
copy_folder_load(const char *folder, GError **error)
{
    g_autofree char *path = g_build_filename(folder, LIST, NULL), *text = NULL;
    g_autoptr(GError) cause = NULL;
    struct stat st;
    gsize length = 0;
    if (stat(path, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > LIST_MAX_BYTES))
        return damaged(folder, error);
    if (!g_file_get_contents(path, &text, &length, &cause)) {
        bool none = g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOENT) || g_error_matches(cause, G_FILE_ERROR, G_FILE_ERROR_NOTDIR);
        if (none)
            g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_NONE_THERE,
                        "there is no exported first copy in '%s'; give the folder NAME_GUID that the export made", folder);
        else
            g_set_error_literal(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_FAILED, cause->message);
        return NULL;
    }
    if (strlen(text) != length || !check_sum(text))
        return damaged(folder, error);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    return parse(lines, folder, error);
}

/* ---- its logs ---- */

static bool
check_log(const CopyFolder *self, int fd, const CopyLog *log, const char *path, ChangeLogSummary *ret_summary, GError **error)
{
    struct stat st;
    g_autoptr(GError) cause = NULL;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != log->bytes) {
        g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED,
                    "'%s' has not the %" PRIu64 " bytes that were written; bring it from the primary once more", path, log->bytes);
        return false;
    }
    if (!change_log_verify(change_log_source_fd(&fd), ret_summary, &cause)) {
        g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED, "'%s' is damaged (%s); bring it from the primary once more", path,
                    cause->message);
        return false;
    }
    if (memcmp(ret_summary->digest, log->digest, sizeof log->digest) != 0) {
        g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED, "'%s' is another log than the list in its folder says", path);
        return false;
    }
    return true;
}

int
copy_folder_open_log(const CopyFolder *self, const char *folder, unsigned number, ChangeLogSummary *ret_summary, GError **error)
{
    g_autofree char *path = copy_folder_log_path(folder, number);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        g_set_error(error, COPY_FOLDER_ERROR, COPY_FOLDER_ERROR_DAMAGED, "cannot open '%s', a part of the first copy: %s", path,
                    g_strerror(errno));
        return -1;
    }
    if (check_log(self, fd, &g_array_index(self->logs, CopyLog, number - 1), path, ret_summary, error) && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    close(fd);
    return -1;
}
