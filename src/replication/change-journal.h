/* change-journal: what changed on the disks of a replica since named moments, on disk before the change is.
 *
 *   FOLDER/NUMBER-NAME    changes from the moment NAME to the one with the next number
 *
 * Moments are what checkpoints are in a guest: one that is deleted gives its changes to the one before it, and the oldest takes them along.
 * While there is no moment nothing is kept. Extents are whole grains; a place counts once however often it is written, so a journal that nobody
 * reads is bounded by the size of the disks (16 bytes for each run of grains). What cannot be read any more is dropped: then nothing is known,
 * and both sides have to be compared. Safe from any thread.
 */
#pragma once

#include "changelog/changelog.h"

typedef struct ChangeJournal ChangeJournal;

/* Of @folder, which is made when there is something to keep. */
ChangeJournal *change_journal_open(const char *folder);
void           change_journal_close(ChangeJournal *self); /* NULL is fine */

/* From now on what changes since the moment @name is known; @disks as they are now. */
bool change_journal_cut(ChangeJournal *self, const char *name, const ChangeLogDisk *disks, unsigned n_disks, GError **error);
/* @changed of @disks, which have their sizes after it, is about to be written; a part that a smaller size cuts off counts, too. Where it cannot be
 * kept the journal is dropped; false, and nothing may be written, only when that fails as well. */
bool change_journal_note(ChangeJournal *self, const ChangeLogDisk *disks, unsigned n_disks, ExtentSet *const *changed, GError **error);
/* Is there a moment that changes are kept for? */
bool change_journal_is_kept(ChangeJournal *self);
/* What changed on @disk below @size_bytes since @name; (transfer full). NULL with VIRT_ERROR_BITMAP_LOST when that is not known. */
ExtentSet *change_journal_since(ChangeJournal *self, const char *name, const char *disk, uint64_t size_bytes, GError **error);
/* A moment that is not there is fine. */
bool change_journal_delete(ChangeJournal *self, const char *name, GError **error);
/* All but @keep and @keep_too (nullable). */
bool change_journal_delete_others(ChangeJournal *self, const char *keep, const char *keep_too, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChangeJournal, change_journal_close)
