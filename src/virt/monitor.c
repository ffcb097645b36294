#include "virt/virt-private.h"

#include <libvirt/libvirt-qemu.h>

JsonNode *
virt_monitor_ask(VirtHost *host, virDomainPtr domain, const char *command, JsonObject *arguments, GError **error)
{
    g_autoptr(JsonNode) request = json_node_new(JSON_NODE_OBJECT);
    JsonObject *object = json_object_new();
    json_node_take_object(request, object);
    json_object_set_string_member(object, "execute", command);
    if (arguments != NULL)
        json_object_set_object_member(object, "arguments", arguments);
    g_autofree char *text = json_to_string(request, FALSE);
    char *reply = NULL;
    if (virDomainQemuMonitorCommand(domain, text, &reply, 0) < 0) {
        virt_fail(host, domain, error, "does not answer '%s'", command);
        return NULL;
    }
    g_autoptr(JsonNode) answer = json_from_string(reply, NULL);
    JsonObject *members = answer != NULL && JSON_NODE_HOLDS_OBJECT(answer) ? json_node_get_object(answer) : NULL;
    JsonNode *value = members != NULL ? json_object_get_member(members, "return") : NULL;
    if (value == NULL)
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "QEMU of VM '%s' refuses '%s': %s", virDomainGetName(domain),
                    command, reply);
    else
        value = json_node_copy(value);
    free(reply);
    return value;
}
