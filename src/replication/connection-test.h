/* connection-test: could a VM be replicated to that server? Asked before anything is set up. */
#pragma once

#include "replication/service.h"

/* Says hello to the replica server of @settings (host, port, proxy; the rest is not looked at), as CreateReplicationRelationship would.
 * The job fails with UNAVAILABLE when nobody answers, with ACCESS_DENIED when one side does not trust or authorize the other. */
bool replication_service_test_connection(ReplicationService *self, const Caller *caller, const RelationshipSettings *settings,
                                         Job **ret_job, GError **error);
