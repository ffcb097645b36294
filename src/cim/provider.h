/* provider: instances of a class, made from the views of replication/service.h.
 *
 * A class is a Provider row: how to list its views, how to find one by its key without listing all, and a table that says
 * for each property where its value comes from. A property without a row is null. Stateless; safe from any thread.
 */
#pragma once

#include "cim/cim.h"
#include "replication/service.h"

typedef CimValue *(*PropertyGetter)(ReplicationService *service, const void *view);

typedef struct {
    const char    *name;
    PropertyGetter get;
    const char    *constant; /* when @get is NULL: the text; of an array, its one item */
} PropertyRow;

typedef struct {
    const char *class_name;
    const char *key;          /* property whose text find() takes */
    bool        is_singleton; /* may be addressed without keys */
    /* Both answer REPLICATION_ERROR. find() gives NULL without an error when there is none. */
    GPtrArray *(*list)(ReplicationService *service, GError **error); /* of views, owned by it */
    void      *(*find)(ReplicationService *service, const char *key, GError **error);
    GDestroyNotify free_view;
    const PropertyRow *rows;  /* a NULL name ends it */
} Provider;

extern const Provider system_providers[], adapter_providers[], replication_providers[], job_providers[]; /* a NULL class_name ends each */

/* Calls @each with every provider whose class is @ancestor or below it; with that class alone when @exact. */
typedef bool (*ProviderFunc)(const Provider *provider, const CimClass *cim_class, void *data, GError **error);
bool provider_foreach(const CimClass *ancestor, bool exact, ProviderFunc each, void *data, GError **error);

/* Appends instances of @cim_class; with @key those with that key only. Errors are REPLICATION_ERROR. */
bool provider_collect(const Provider *self, const CimClass *cim_class, ReplicationService *service, const char *key,
                      GPtrArray *instances, GError **error);

/* Instances of one class by its name; @key as above. */
bool provider_collect_class(const char *class_name, ReplicationService *service, const char *key, GPtrArray *instances,
                            GError **error);

CimInstance *provider_make(const Provider *self, const CimClass *cim_class, ReplicationService *service,
                           const void *view);

/* What belongs to one virtual machine, from one reading: its recovery points, oldest first, and its disks. */
bool provider_collect_points(ReplicationService *service, const char *vm_uuid, bool latest_only, GPtrArray *instances,
                             GError **error);
bool provider_collect_disks(ReplicationService *service, const char *vm_uuid, GPtrArray *instances, GError **error);

/* Its network adapters, and what they are connected to. */
bool provider_collect_adapters(ReplicationService *service, const char *vm_uuid, GPtrArray *instances, GError **error);
bool provider_collect_connections(ReplicationService *service, const char *vm_uuid, GPtrArray *instances, GError **error);

/* What @list gives for one virtual machine, joined for all of them; one that has gone meanwhile is passed over. */
typedef GPtrArray *(*ProviderListFunc)(ReplicationService *service, const char *vm_uuid, GError **error);
GPtrArray *provider_list_of_each_vm(ReplicationService *service, ProviderListFunc list, GDestroyNotify free_item, GError **error);

/* Sets the properties of rows with a constant. */
void provider_set_constants(CimInstance *instance, const PropertyRow *rows);

GPtrArray *provider_instances_new(void);
