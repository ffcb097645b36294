/* The VMs of test failovers, as far as they are part of what callers see. They have no relationship of their own: the
 * row of the replica names them. */
#include "replication/service-private.h"

#include <string.h>

char *
service_test_name(const StoreRelationship *row)
{
    return g_strconcat(row->vm_name, " - Test", NULL);
}

Member *
service_find_test_of(ReplicationService *self, const char *test_uuid)
{
    g_autoptr(GPtrArray) members = service_members(self);
    for (guint i = 0; i < members->len; i++) {
        Member *member = g_ptr_array_index(members, i);
        if (relationship_has_test(member->relationship, test_uuid))
            return member_ref(member);
    }
    return NULL;
}

VirtDomain *
service_test_domain(Member *member)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    if (row->test_uuid == NULL)
        return NULL;
    VirtDomain *domain = g_new0(VirtDomain, 1);
    domain->uuid = g_strdup(row->test_uuid);
    domain->name = service_test_name(row);
    domain->state = VIRT_OFF;
    return domain;
}

bool
service_refuse_test_vm(ReplicationService *self, const VirtDomain *domain, const char *what, GError **error)
{
    g_autoptr(Member) member = service_find_test_of(self, domain->uuid);
    if (member == NULL)
        return true;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    return replication_refuse(error, REPLICATION_ERROR_INVALID_STATE,
                              "cannot %s: VM '%s' is the test replica of '%s'; it can be started, stopped and removed "
                              "('virt-replica test-end %s')", what, domain->name, row->vm_name, row->vm_name);
}
