/* Whether a change log is whole, and whether it continues a history. */
#include "changelog/changelog.h"

#include <string.h>

bool
change_log_verify(ChangeLogSource source, ChangeLogSummary *ret_summary, GError **error)
{
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(source, error);
    if (reader == NULL)
        return false;

    ChangeLogSummary summary = { .header = *change_log_reader_header(reader) };
    ChangeLogRecord record;
    do {
        if (!change_log_reader_next(reader, &record, error))
            return false;
        if (record.type == CHANGE_LOG_RECORD_DATA)
            summary.data_bytes += record.length;
        else if (record.type == CHANGE_LOG_RECORD_ZERO)
            summary.zero_bytes += record.length;
    } while (record.type != CHANGE_LOG_RECORD_END);

    memcpy(summary.digest, record.digest, sizeof summary.digest);
    summary.bytes = change_log_reader_good_bytes(reader);
    summary.records = change_log_reader_good_records(reader);
    if (ret_summary != NULL)
        *ret_summary = summary;
    return true;
}

static bool
misfit(GError **error, const char *what, const char *wanted, const char *found)
{
    g_set_error(error, CHANGE_LOG_ERROR, CHANGE_LOG_ERROR_MISFIT,
                "The change log does not continue this history: its %s is %s, and %s is needed.", what, found, wanted);
    return false;
}

static char *
digest_text(const uint8_t digest[CHANGE_LOG_DIGEST_SIZE])
{
    GString *text = g_string_sized_new(2 * CHANGE_LOG_DIGEST_SIZE + 1);
    for (unsigned i = 0; i < CHANGE_LOG_DIGEST_SIZE; i++)
        g_string_append_printf(text, "%02x", digest[i]);
    return g_string_free(text, FALSE);
}

bool
change_log_fits(const ChangeLogHeader *header, const char *vm_uuid, const char *lineage, uint64_t base,
                const uint8_t previous_digest[CHANGE_LOG_DIGEST_SIZE], GError **error)
{
    if (header->kind == CHANGE_LOG_UNDO)
        return misfit(error, "kind", "a delta or a pass of a copy", "undo");
    if (strcmp(header->vm_uuid, vm_uuid) != 0)
        return misfit(error, "VM", vm_uuid, header->vm_uuid);
    if (strcmp(header->lineage, lineage) != 0)
        return misfit(error, "lineage", lineage, header->lineage);
    if (header->base != base) {
        g_autofree char *wanted = g_strdup_printf("%" G_GUINT64_FORMAT, base);
        g_autofree char *found = g_strdup_printf("%" G_GUINT64_FORMAT, header->base);
        return misfit(error, "base position", wanted, found);
    }
    if (memcmp(header->previous_digest, previous_digest, CHANGE_LOG_DIGEST_SIZE) != 0) {
        g_autofree char *wanted = digest_text(previous_digest);
        g_autofree char *found = digest_text(header->previous_digest);
        return misfit(error, "predecessor's digest", wanted, found);
    }
    return true;
}
