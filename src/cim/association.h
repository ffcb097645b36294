/* association: which instances belong together, and the association instances that say so.
 *
 * One table row per kind of pair. Stateless; safe from any thread. Errors are REPLICATION_ERROR.
 */
#pragma once

#include "cim/cim.h"
#include "replication/service.h"

/* Resolved filter: classes instead of names; NULL lets everything through. */
typedef struct {
    const CimClass *assoc_class, *result_class;
    const char     *role, *result_role;
} AssociationFilter;

/* Appends the far ends of @object, each once. */
bool association_associators(ReplicationService *service, const CimInstance *object, const AssociationFilter *filter,
                             GPtrArray *results, GError **error);
/* Appends the association instances that name @object; @filter's result_class and result_role look at the far end. */
bool association_references(ReplicationService *service, const CimInstance *object, const AssociationFilter *filter,
                            GPtrArray *results, GError **error);
/* Appends all instances of an association class, and of those below it unless @exact. */
bool association_enumerate(ReplicationService *service, const CimClass *cim_class, bool exact, GPtrArray *results,
                           GError **error);
