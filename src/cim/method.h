/* method: what the methods of the classes do.
 *
 * One table row per method: the role its caller needs and the function that does it, or the code that says it cannot be
 * done. Stateless; safe from any thread.
 */
#pragma once

#include "cim/cim.h"
#include "replication/service.h"

typedef struct {
    ReplicationService *service;
    const char         *user;
    const CimInstance  *target;
    GHashTable         *in;   /* name as declared -> CimValue* of the declared type; absent is null */
    GHashTable         *out;  /* name -> CimValue*, owned; complete with nulls */
    uint32_t            code; /* return value */
    const char         *message; /* (nullable) static text for a person when @code is an error of the method's own */
    Job                *job;  /* owned; when set the code is 4096 and the out parameter Job names it */
} MethodCall;

/* false with REPLICATION_ERROR: its code is the return value. CIM_ERROR from reading an argument becomes one. */
typedef bool (*MethodFunc)(MethodCall *call, GError **error);

typedef struct {
    const char *class_name, *name;
    CimRole     role;
    MethodFunc  run;  /* NULL: not supported, answered with @code */
    uint32_t    code;
} MethodRow;

const MethodRow *method_find(const CimClass *cim_class, const char *name);

/* Runs a row for a caller: checks the role, and turns errors into return values. @ret_message as in cim_broker_invoke(). */
void method_run(const MethodRow *row, const CimCaller *caller, MethodCall *call, char **ret_message);

const char *cim_role_name(CimRole role);

/* ---- arguments; a missing one is refused with REPLICATION_ERROR_INVALID_PARAMETER ---- */

const CimValue *argument(const MethodCall *call, const char *name); /* NULL when null or absent */
/* The virtual machine that @name refers to: WRONG_TYPE for another class, INVALID_PARAMETER when there is none. */
VmView *argument_vm(const MethodCall *call, const char *name, GError **error);
/* Id of the recovery point of @vm that @name refers to; NULL for the latest. */
bool argument_point(const MethodCall *call, const char *name, const VmView *vm, char **ret_id, GError **error);
bool argument_uint(const MethodCall *call, const char *name, unsigned *ret, GError **error);
const char *argument_text(const MethodCall *call, const char *name, GError **error);
/* Embedded instance of the parameter's class; NULL without an error when it is null. */
CimInstance *argument_instance(const MethodCall *call, const char *name, const char *class_name, GError **error);
/* Embedded instances of the class in an array parameter; of CimInstance, owned; empty when it is null. */
GPtrArray *argument_instances(const MethodCall *call, const char *name, const char *class_name, GError **error);
/* Index of the relationship of @vm that the embedded Msvm_ReplicationRelationship names; 0 when it is null. */
bool argument_relationship(const MethodCall *call, const char *name, const VmView *vm, unsigned *ret_index,
                           GError **error);

/* ---- embedded settings to structures ---- */

/* Which relationship of @vm the settings are of; @otherwise when they do not say. */
bool settings_relationship(const CimInstance *instance, const VmView *vm, unsigned otherwise, unsigned *ret_index, GError **error);
/* Null properties keep what @base has, or without that (nullable) the defaults. */
RelationshipSettings *settings_from_instance(const CimInstance *instance, const VmView *vm, const RelationshipSettings *base,
                                             GError **error);
/* @adapters: of AdapterView, those that the virtual machine has: an instance without an InstanceID means the only one. */
AdapterView *adapter_from_instance(const CimInstance *instance, const VmView *vm, const GPtrArray *adapters, GError **error);
/* Null properties keep what @settings has. */
void service_settings_change(ServiceSettings *settings, const CimInstance *instance);
AuthorizationEntry *entry_from_instance(const CimInstance *instance, GError **error);

/* ---- the functions of rows ---- */

/* A NULL class_name ends each. */
extern const MethodRow replication_methods[], system_methods[], job_methods[], management_methods[];
