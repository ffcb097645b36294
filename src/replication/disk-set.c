#include "replication/disk-set.h"

#include "changelog/changelog.h"

#include <string.h>

bool
disk_set_equal(const char *const *a, const char *const *b)
{
    if (g_strv_length((char **)a) != g_strv_length((char **)b))
        return false;
    for (; *a != NULL; a++) {
        if (!g_strv_contains(b, *a))
            return false;
    }
    return true;
}

static char **
select_ids(const char *const *a, const char *const *b, bool common)
{
    g_autoptr(GStrvBuilder) ids = g_strv_builder_new();
    for (; *a != NULL; a++) {
        if (g_strv_contains(b, *a) == common)
            g_strv_builder_add(ids, *a);
    }
    return g_strv_builder_end(ids);
}

char **
disk_set_common(const char *const *a, const char *const *b)
{
    return select_ids(a, b, true);
}

char **
disk_set_without(const char *const *a, const char *const *b)
{
    return select_ids(a, b, false);
}

static int
compare_ids(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *
to_text(const char *const *ids)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();
    GString *text = g_string_new(NULL);
    for (; *ids != NULL; ids++)
        g_ptr_array_add(sorted, (gpointer)*ids);
    g_ptr_array_sort(sorted, compare_ids);
    for (guint i = 0; i < sorted->len; i++)
        g_string_append_printf(text, "%s\n", (const char *)g_ptr_array_index(sorted, i));
    return g_string_free(text, FALSE);
}

GBytes *
disk_set_to_blob(const char *const *ids)
{
    char *text = to_text(ids);
    return g_bytes_new_take(text, strlen(text));
}

static bool
is_id(const char *text)
{
    if (text[0] == '\0' || text[0] == '.' || strlen(text) > CHANGE_LOG_NAME_MAX)
        return false;
    for (; *text != '\0'; text++) {
        if (!g_ascii_isalnum(*text) && strchr("._-", *text) == NULL)
            return false;
    }
    return true;
}

char **
disk_set_from_text(const char *text, gsize length)
{
    g_autofree char *copy = g_strndup(text, length);
    g_auto(GStrv) lines = g_strsplit(copy, "\n", -1);
    g_autoptr(GStrvBuilder) ids = g_strv_builder_new();
    for (char **line = lines; *line != NULL; line++) {
        if (is_id(*line))
            g_strv_builder_add(ids, *line);
    }
    return g_strv_builder_end(ids);
}

void
disk_set_digest(const char *const *ids, char ret_digest[33])
{
    g_autofree char *text = to_text(ids), *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    g_strlcpy(ret_digest, sum, 33);
}
