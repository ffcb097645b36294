/* copy-folder: a first copy in a folder, on its way to the replica's host: change logs in files, and a list that says what belongs to it.
 *
 *   FOLDER/first-copy     the list: what VM and history it is of, each log with its size and digest, and at the end whether it is complete
 *   FOLDER/000001.log ... passes of the first copy, in their order; the last one closes it
 *
 * The list is replaced whole after each log, with a checksum of itself: a copy that was not written or brought to its end is known by it.
 * The primary writes it, the replica's host only reads. One thread at a time.
 */
#pragma once

#include "changelog/changelog.h"

typedef enum {
    COPY_FOLDER_ERROR_NONE_THERE, /* no first copy in that folder */
    COPY_FOLDER_ERROR_DAMAGED,    /* not complete, or not what was written */
    COPY_FOLDER_ERROR_FAILED,     /* it cannot be read or written */
} CopyFolderError;
#define COPY_FOLDER_ERROR (copy_folder_error_quark())
GQuark copy_folder_error_quark(void);

typedef struct {
    uint64_t bytes;
    uint8_t  digest[CHANGE_LOG_DIGEST_SIZE];
} CopyLog;

typedef struct {
    char   *vm_uuid, *vm_name, *lineage;
    GArray *logs;       /* of CopyLog */
    int64_t taken_usec; /* UTC by the primary's clock: the moment of the copy; 0 until it is complete */
} CopyFolder;

CopyFolder *copy_folder_new(const char *vm_uuid, const char *vm_name, const char *lineage);
void        copy_folder_free(CopyFolder *self);
/* Puts log @number, from 1 on, behind those before it; what was behind them is forgotten. False when some of these are not there. */
bool        copy_folder_set_log(CopyFolder *self, unsigned number, const CopyLog *log);
bool        copy_folder_save(const CopyFolder *self, const char *folder, GError **error);
CopyFolder *copy_folder_load(const char *folder, GError **error);

/* "LOCATION/NAME_GUID" for a new one; nobody has that GUID. (transfer full) */
char *copy_folder_new_path(const char *location, const char *vm_name);
char *copy_folder_log_path(const char *folder, unsigned number);
/* Opens log @number of @self for reading and checks all of it, the file's size and digest too; -1 with @error. It stands at its start again. */
int   copy_folder_open_log(const CopyFolder *self, const char *folder, unsigned number, ChangeLogSummary *ret_summary, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CopyFolder, copy_folder_free)
