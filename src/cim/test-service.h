/* test-service: replication/service.h and failover/failover.h over a few virtual machines in memory, for tests of what is
 * above them. Does what it is told at once, remembers the last call, and refuses when told to.
 */
#pragma once

#include "failover/failover.h"

#define TEST_HOST      "TESTHOST"
#define TEST_PRIMARY   "11111111-aaaa-4111-8111-111111111111" /* "web": runs, disks vda, vdb and a CD-ROM, two adapters, replicates */
#define TEST_REPLICA   "22222222-bbbb-4222-8222-222222222222" /* "db": off, two relationships, three points */
#define TEST_IDLE      "33333333-cccc-4333-8333-333333333333" /* "idle": does not replicate */
#define TEST_MAC_1     "52:54:00:00:00:0a"
#define TEST_MAC_2     "52:54:00:00:00:0b" /* has settings */
#define TEST_TEST_VM   "55555555-eeee-4555-8555-555555555555" /* "db - Test": not there before it is added */
#define TEST_POINT_1   "44444444-dddd-4444-8444-000000000001"
#define TEST_POINT_2   "44444444-dddd-4444-8444-000000000002" /* application-consistent */
#define TEST_POINT_3   "44444444-dddd-4444-8444-000000000003" /* the latest */

typedef struct {
    const char *operation;  /* NULL: nothing was called since */
    char       *user, *vm_uuid, *text;  /* @text: point, export location, or primary of an entry */
    unsigned    index, number;          /* @number: requested state, or type of the first copy */
    int64_t     start_usec;
    RelationshipSettings *settings;
    GPtrArray  *adapters;               /* of AdapterView */
} TestCall;

ReplicationService *test_service_new(void);
void                test_service_free(ReplicationService *self);
/* The VM of a test failover of TEST_REPLICA, as failover_test() makes it. */
void                test_service_add_test_vm(ReplicationService *self);
const TestCall     *test_service_last_call(ReplicationService *self);
/* The next call that does something fails with @code, or succeeds without a job when @code is 0. */
void                test_service_refuse_next(ReplicationService *self, int code);
