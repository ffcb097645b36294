#include "cim/names.h"
#include "cim/cim.h"

#include <string.h>

#define PREFIX "Microsoft:"
#define GUID_LENGTH 36

char *
name_of_guid(const char *uuid)
{
    return g_ascii_strup(uuid, -1);
}

char *
name_of_settings(const char *uuid)
{
    g_autofree char *guid = name_of_guid(uuid);

    return g_strconcat(PREFIX, guid, NULL);
}

char *
name_of_relationship(const char *vm_uuid, unsigned index)
{
    g_autofree char *guid = name_of_guid(vm_uuid);

    return g_strdup_printf(PREFIX "%s\\HVR\\%u", guid, index);
}

char *
name_of_disk(const char *vm_uuid, const char *target)
{
    g_autofree char *guid = name_of_guid(vm_uuid);

    return g_strconcat(PREFIX, guid, "\\", target, NULL);
}

#define MAC_DIGITS 12

char *
mac_digits(const char *mac)
{
    GString *digits = g_string_new(NULL);

    for (; *mac != '\0'; mac++) {
        if (*mac != ':')
            g_string_append_c(digits, g_ascii_toupper(*mac));
    }
    return g_string_free(digits, FALSE);
}

char *
name_of_adapter(const char *vm_uuid, const char *mac, const char *rest)
{
    g_autofree char *guid = name_of_guid(vm_uuid), *digits = mac_digits(mac);

    return g_strconcat(PREFIX, guid, "\\", digits, rest, NULL);
}

bool
adapter_of_instance_id(const char *instance_id, const char *rest, char **ret_uuid, char **ret_mac)
{
    g_autofree char *uuid = NULL;
    g_autoptr(GString) mac = g_string_new(NULL);
    const char *digits;

    if (!guid_of_instance_id(instance_id, &uuid, &digits) || *digits++ != '\\')
        return false;
    for (unsigned i = 0; i < MAC_DIGITS; i++) {
        if (!g_ascii_isxdigit(digits[i]))
            return false;
        if (i > 0 && i % 2 == 0)
            g_string_append_c(mac, ':');
        g_string_append_c(mac, g_ascii_tolower(digits[i]));
    }
    if (g_ascii_strcasecmp(digits + MAC_DIGITS, rest) != 0)
        return false;
    *ret_uuid = g_steal_pointer(&uuid);
    *ret_mac = g_strdup(mac->str);
    return true;
}

char *
guid_of_name(const char *name)
{
    size_t length = strlen(name);
    g_autofree char *bare = length == GUID_LENGTH + 2 && name[0] == '{' && name[length - 1] == '}'
                                ? g_strndup(name + 1, GUID_LENGTH) : g_strdup(name);

    return g_uuid_string_is_valid(bare) ? g_ascii_strdown(bare, -1) : NULL;
}

bool
guid_of_instance_id(const char *instance_id, char **ret_uuid, const char **ret_rest)
{
    g_autofree char *guid = NULL;

    if (g_ascii_strncasecmp(instance_id, PREFIX, strlen(PREFIX)) != 0)
        return false;
    instance_id += strlen(PREFIX);
    guid = g_strndup(instance_id, GUID_LENGTH);
    if (!g_uuid_string_is_valid(guid))
        return false;
    *ret_uuid = g_ascii_strdown(guid, -1);
    *ret_rest = instance_id + GUID_LENGTH;
    return true;
}

bool
relationship_index_of_rest(const char *rest, unsigned *ret_index)
{
    if (g_ascii_strcasecmp(rest, "\\HVR") == 0 || g_ascii_strcasecmp(rest, "\\HVR\\0") == 0)
        *ret_index = 0;
    else if (g_ascii_strcasecmp(rest, "\\HVR\\1") == 0)
        *ret_index = 1;
    else
        return false;
    return true;
}

char *
path_of_instance_id(ReplicationService *service, const char *class_name, const char *instance_id)
{
    CimPath *path = cim_path_new("root/virtualization/v2", class_name);
    char *text;

    cim_path_add(path, "InstanceID", cim_value_new_string(instance_id));
    text = cim_path_to_text(path, replication_service_host_name(service));
    cim_path_free(path);
    return text;
}
