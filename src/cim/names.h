/* names: how objects of replication/ are named in CIM.
 *
 *   virtual machine   <GUID>                          Name of Msvm_ComputerSystem; GUIDs are in upper case on the wire
 *   its settings      Microsoft:<GUID>                InstanceID of Msvm_VirtualSystemSettingData; a recovery point likewise
 *   relationship n    Microsoft:<GUID>\HVR\n          its settings have the same InstanceID
 *   disk              Microsoft:<GUID>\<target>
 *   network adapter   Microsoft:<GUID>\<MAC>          twelve digits in upper case; its failover settings have the same InstanceID,
 *                                                     what it is connected to has one with "\C" behind it
 */
#pragma once

#include "replication/service.h"

#include <glib.h>
#include <stdbool.h>

char *name_of_guid(const char *uuid);                           /* upper case */
char *name_of_settings(const char *uuid);
char *name_of_relationship(const char *vm_uuid, unsigned index);
char *name_of_disk(const char *vm_uuid, const char *target);
#define ADAPTER_CONNECTION "\\C"
char *mac_digits(const char *mac);                              /* 5254001234AB */
/* @rest: "" or ADAPTER_CONNECTION */
char *name_of_adapter(const char *vm_uuid, const char *mac, const char *rest);
/* Of an InstanceID made of these: @ret_mac in lower case with colons. */
bool  adapter_of_instance_id(const char *instance_id, const char *rest, char **ret_uuid, char **ret_mac);
/* A GUID in lower case, or NULL when @name is none. Braces around it are accepted. */
char *guid_of_name(const char *name);
/* Takes an InstanceID apart: false when it does not begin with "Microsoft:<GUID>". @ret_rest points behind the GUID. */
bool  guid_of_instance_id(const char *instance_id, char **ret_uuid, const char **ret_rest);
/* "\HVR" and "\HVR\0" are 0, "\HVR\1" is 1. */
bool  relationship_index_of_rest(const char *rest, unsigned *ret_index);
/* Text of an object path: \\HOST\root\virtualization\v2:Class.InstanceID="..." */
char *path_of_instance_id(ReplicationService *service, const char *class_name, const char *instance_id);
