/* Reads the arguments of methods. */
#include "cim/method.h"
#include "cim/names.h"

#define NAMESPACE "root/virtualization/v2"

static bool
refuse(GError **error, ReplicationError code, const char *message, const char *name)
{
    g_set_error(error, REPLICATION_ERROR, (int) code, message, name);
    return false;
}

const CimValue *
argument(const MethodCall *call, const char *name)
{
    const CimValue *value = g_hash_table_lookup(call->in, name);

    return value == NULL || value->is_null ? NULL : value;
}

/* Whether a path may name an instance of @class_name. */
static bool
is_path_to(const CimPath *path, const char *class_name)
{
    const CimClass *wanted = cim_class_find(NAMESPACE, class_name);
    const CimClass *found = cim_class_find(path->cim_namespace == NULL ? NAMESPACE : path->cim_namespace,
                                           path->class_name);

    return found != NULL && (cim_class_is_a(wanted, found) || cim_class_is_a(found, wanted));
}

static const char *
path_key_text(const CimPath *path, const char *name)
{
    const CimValue *value = cim_path_key(path, name);

    return value == NULL || value->is_null || value->type != CIM_STRING ? NULL : value->v.string;
}

VmView *
argument_vm(const MethodCall *call, const char *name, GError **error)
{
    const CimValue *value = argument(call, name);
    const CimPath *path = value == NULL ? NULL : value->v.path;
    g_autofree char *uuid = NULL;
    const char *key;

    if (path == NULL) {
        refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "%s is missing: give a reference to an Msvm_ComputerSystem",
               name);
        return NULL;
    }
    if (!is_path_to(path, "Msvm_ComputerSystem")) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_WRONG_TYPE,
                    "%s refers to a %s; give a reference to an Msvm_ComputerSystem",
                    name, path->class_name);
        return NULL;
    }
    key = path_key_text(path, "Name");
    uuid = key == NULL ? NULL : guid_of_name(key);
    if (uuid == NULL) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                    "%s names no virtual machine: '%s' is not the GUID of one; property Name of Msvm_ComputerSystem has it", name,
                    key == NULL ? "" : key);
        return NULL;
    }
    return replication_service_vm(call->service, uuid, error);
}

static bool
check_point(const PointView *point, const VmView *vm, GError **error)
{
    if (g_ascii_strcasecmp(point->vm_uuid, vm->uuid) == 0)
        return true;
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                "The recovery point belongs to VM '%s', not to '%s'; list those of '%s' through Msvm_SnapshotOfVirtualSystem",
                point->vm_name, vm->name, vm->name);
    return false;
}

bool
argument_point(const MethodCall *call, const char *name, const VmView *vm, char **ret_id, GError **error)
{
    const CimValue *value = argument(call, name);
    const CimPath *path = value == NULL ? NULL : value->v.path;
    g_autofree char *id = NULL;
    g_autoptr(PointView) point = NULL;
    const char *key, *rest;

    *ret_id = NULL;
    if (path == NULL)
        return true;
    if (!is_path_to(path, "Msvm_VirtualSystemSettingData")) {
        g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_WRONG_TYPE,
                    "%s refers to a %s; give a reference to an Msvm_VirtualSystemSettingData", name, path->class_name);
        return false;
    }
    key = path_key_text(path, "InstanceID");
    if (key == NULL || !guid_of_instance_id(key, &id, &rest) || *rest != '\0')
        return refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "%s does not name a recovery point by its InstanceID",
                      name);
    if (g_ascii_strcasecmp(id, vm->uuid) == 0)
        return refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                      "%s names the present settings of the virtual machine, not a recovery point", name);
    point = replication_service_point(call->service, id, error);
    if (point == NULL || !check_point(point, vm, error))
        return false;
    *ret_id = g_strdup(point->id);
    return true;
}

bool
argument_uint(const MethodCall *call, const char *name, unsigned *ret, GError **error)
{
    const CimValue *value = argument(call, name);

    if (value == NULL)
        return refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "%s is missing", name);
    *ret = (unsigned) value->v.uint;
    return true;
}

const char *
argument_text(const MethodCall *call, const char *name, GError **error)
{
    const CimValue *value = argument(call, name);

    if (value == NULL || *value->v.string == '\0') {
        refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "%s is missing", name);
        return NULL;
    }
    return value->v.string;
}

static CimInstance *
read_instance(const char *text, const char *name, const char *class_name, GError **error)
{
    CimInstance *instance = cim_instance_from_text(text, NAMESPACE, error);

    if (instance == NULL) {
        g_prefix_error(error, "%s: ", name);
        return NULL;
    }
    if (cim_class_is_a(cim_instance_class(instance), cim_class_find(NAMESPACE, class_name)))
        return instance;
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_WRONG_TYPE, "%s holds a %s; give a %s", name,
                cim_instance_class(instance)->name, class_name);
    cim_instance_free(instance);
    return NULL;
}

CimInstance *
argument_instance(const MethodCall *call, const char *name, const char *class_name, GError **error)
{
    const CimValue *value = argument(call, name);

    if (value == NULL || *value->v.string == '\0')
        return NULL;
    return read_instance(value->v.string, name, class_name, error);
}

GPtrArray *
argument_instances(const MethodCall *call, const char *name, const char *class_name, GError **error)
{
    const CimValue *value = argument(call, name);
    g_autoptr(GPtrArray) instances = g_ptr_array_new_with_free_func((GDestroyNotify) cim_instance_free);

    for (unsigned i = 0; value != NULL && i < value->v.items->len; i++) {
        const CimValue *item = value->v.items->pdata[i];
        CimInstance *instance;

        if (item->is_null)
            continue;
        instance = read_instance(item->v.string, name, class_name, error);
        if (instance == NULL)
            return NULL;
        g_ptr_array_add(instances, instance);
    }
    return g_steal_pointer(&instances);
}

static bool
parse_relationship_id(const CimInstance *relationship, const VmView *vm, unsigned *ret_index, GError **error)
{
    const CimValue *id = cim_instance_get(relationship, "InstanceID");
    g_autofree char *uuid = NULL;
    const char *rest;

    if (!id->is_null && guid_of_instance_id(id->v.string, &uuid, &rest) && g_ascii_strcasecmp(uuid, vm->uuid) == 0 &&
        relationship_index_of_rest(rest, ret_index) && *ret_index < vm->n_relationships)
        return true;
    g_set_error(error, REPLICATION_ERROR, REPLICATION_ERROR_INVALID_PARAMETER,
                "VM '%s' has no relationship with the InstanceID '%s'",
                vm->name, id->is_null ? "" : id->v.string);
    return false;
}

bool
argument_relationship(const MethodCall *call, const char *name, const VmView *vm, unsigned *ret_index, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    CimInstance *relationship = argument_instance(call, name, "Msvm_ReplicationRelationship", &own_error);
    bool ok;

    if (own_error != NULL) {
        g_propagate_error(error, g_steal_pointer(&own_error));
        return false;
    }
    *ret_index = 0;
    ok = relationship == NULL || parse_relationship_id(relationship, vm, ret_index, error);
    cim_instance_free(relationship);
    return ok;
}
