/* What a log writes to, without what it writes. */
#include "changelog/gather.h"

static bool
gather_records(ChangeLogReader *reader, Gather **gathers, GError **error)
{
    ChangeLogRecord record;
    do {
        if (!change_log_reader_next(reader, &record, error))
            return false;
        bool is_extent = record.type != CHANGE_LOG_RECORD_END && record.type != CHANGE_LOG_RECORD_BLOB;
        if (is_extent && !gather_add(gathers[record.disk], record.offset, record.length, error))
            return false;
    } while (record.type != CHANGE_LOG_RECORD_END);
    return true;
}

bool
change_log_touched(ChangeLogSource log, ChangeLogHeader *ret_header, ExtentSet **ret_sets, GError **error)
{
    g_autoptr(ChangeLogReader) reader = change_log_reader_new(log, error);
    if (reader == NULL)
        return false;
    const ChangeLogHeader *header = change_log_reader_header(reader);
    Gather *gathers[CHANGE_LOG_DISKS_MAX] = { NULL };
    ExtentSet *sets[CHANGE_LOG_DISKS_MAX] = { NULL };
    change_log_reader_skip_payloads(reader);
    for (unsigned i = 0; i < header->n_disks; i++)
        gathers[i] = gather_new();
    bool good = gather_records(reader, gathers, error);
    for (unsigned i = 0; i < header->n_disks; i++) {
        sets[i] = good ? gather_union(gathers[i], NULL, error) : NULL;
        good = sets[i] != NULL;
        gather_free(gathers[i]);
    }
    for (unsigned i = 0; i < header->n_disks; i++) {
        if (good)
            extent_set_align(sets[i], CHANGE_LOG_GRAIN, header->disks[i].size_bytes);
        else
            extent_set_free(sets[i]);
        ret_sets[i] = good ? sets[i] : NULL;
    }
    if (good)
        *ret_header = *header;
    return good;
}
