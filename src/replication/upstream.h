/* upstream: a replica of this host as what a primary sends from, for a third host: what a VM is to a primary otherwise.
 *
 * It is read at what was applied last, while the relationship of the replica has work, so that nothing is applied meanwhile; an operation on the
 * replica does not wait for that. What is applied is noted in the replica's change journal, so nothing piles up for a host that is away.
 * One thread at a time, but for upstream_journal().
 */
#pragma once

#include "link/link.h"
#include "replication/change-journal.h"
#include "replication/moment.h"
#include "replication/replica.h"

typedef struct Upstream Upstream;

/* @downstream: the relationship with the third host. */
Upstream *upstream_new(const ReplicationContext *context, Replica *replica, Relationship *relationship, Relationship *downstream);
void      upstream_free(Upstream *self); /* NULL is fine */

Relationship  *upstream_relationship(Upstream *self); /* borrowed */
ChangeJournal *upstream_journal(Upstream *self);      /* borrowed */

/* As moment_open(); VIRT_ERROR_BUSY while the replica is in no state to be read (failed over, resynchronizing). */
Moment *upstream_moment(Upstream *self, const MomentRequest *request, GError **error);
/* As moment_blobs(); while a moment of it is held. */
GHashTable *upstream_blobs(const StoreRelationship *row, GError **error);

/* ---- of the row of the relationship with the third host, whose folder is that of the replica ---- */
/* Is it such a row? */
bool   upstream_is_of(const StoreRelationship *row);
/* Its disks' ids, (transfer full), NULL at the end. */
char **upstream_disks(const StoreRelationship *row, GError **error);
/* As primary_fill_offer(). */
bool   upstream_fill_offer(const ReplicationContext *context, const StoreRelationship *row, LinkOffer *offer, GError **error);
char  *upstream_journal_folder(const char *folder);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Upstream, upstream_free)
