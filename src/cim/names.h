/* names: how objects of replication/ are named in CIM.
 *
 *   virtual machine   <GUID>                          Name of Msvm_ComputerSystem; GUIDs are in upper case on the wire
 *   its settings      Microsoft:<GUID>                InstanceID of Msvm_VirtualSystemSettingData; a recovery point likewise
 *   relationship n    Microsoft:<GUID>\HVR\n          its settings have the same InstanceID
 *   disk              Microsoft:<GUID>\<target>
 */
#pragma once

#include "replication/service.h"

#include <glib.h>
#include <stdbool.h>

char *name_of_guid(const char *uuid);                           /* upper case */
char *name_of_settings(const char *uuid);
char *name_of_relationship(const char *vm_uuid, unsigned index);
char *name_of_disk(const char *vm_uuid, const char *target);
/* A GUID in lower case, or NULL when @name is none. Braces around it are accepted. */
char *guid_of_name(const char *name);
/* Takes an InstanceID apart: false when it does not begin with "Microsoft:<GUID>". @ret_rest points behind the GUID. */
bool  guid_of_instance_id(const char *instance_id, char **ret_uuid, const char **ret_rest);
/* "\HVR" and "\HVR\0" are 0, "\HVR\1" is 1. */
bool  relationship_index_of_rest(const char *rest, unsigned *ret_index);
/* Text of an object path: \\HOST\root\virtualization\v2:Class.InstanceID="..." */
char *path_of_instance_id(ReplicationService *service, const char *class_name, const char *instance_id);
