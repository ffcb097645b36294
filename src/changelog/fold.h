/* fold: the joint effect of several change logs that are applied one after another, each place told once.
 *
 * The logs are given in reverse order of application: the last one applied comes first, and what it says holds. An
 * earlier one adds what no later one says and no later one cuts off.
 *
 * With sizes T1 .. Tm of a disk, in order of application, its joint effect is: the size Tm; below min(T1 .. Tm) what no log
 * says stays as it was; from there up to Tm what no log says was cut off at some time and reads as zeroes.
 * A disk that only some of the logs list counts in those only.
 *
 * Private to changelog/. One thread at a time.
 */
#pragma once

#include "changelog/gather.h"

/* Gets the effect. @disk counts the disks in the order in which they were told. */
typedef struct {
    void *opaque;
    bool (*disk)(void *opaque, const char *id, uint64_t size, GError **error); /* a disk and its size at the end */
    bool (*data)(void *opaque, unsigned disk, uint64_t offset, const void *data, size_t length, GError **error);
    bool (*zero)(void *opaque, unsigned disk, uint64_t offset, uint64_t length, GError **error);
    bool (*blob)(void *opaque, const char *name, GBytes *content, GError **error);
} FoldOutput;

typedef struct Fold Fold;

Fold *fold_new(const FoldOutput *output);
void  fold_free(Fold *self); /* NULL is fine */
/* Tells the disks of @header that are new. CHANGE_LOG_ERROR_LIMIT when they become too many. */
bool  fold_disks(Fold *self, const ChangeLogHeader *header, GError **error);
/* Reads the next log (the one applied before those added so far) to its END. Tells its new disks, too. */
bool  fold_log(Fold *self, ChangeLogReader *reader, GError **error);
/* Tells what was cut off and grew again. */
bool  fold_end(Fold *self, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Fold, fold_free)

/* Does @newer begin where @older ends? The passes of one resynchronization lead together from base to position. */
bool fold_undo_follows(const ChangeLogHeader *older, const ChangeLogHeader *newer);
