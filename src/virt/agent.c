/* The agent inside a guest: what it is asked, one command at a time, through libvirt. What it answers is the guest's word and hostile. */
#include "virt/virt-private.h"

#include "virt/domxml.h"

#include <json-glib/json-glib.h>
#include <libvirt/libvirt-qemu.h>
#include <string.h>

#define AGENT_CHANNEL    "org.qemu.guest_agent.0"
#define ANSWER_SEC       10 /* of the agent, to each command */
#define LOOK_FIRST_USEC  (50 * 1000) /* at a command that runs in the guest; each pause is twice the one before */
#define LOOK_LAST_USEC   G_USEC_PER_SEC
#define OUTPUT_MAX_BYTES 400 /* of what a command said: the end of it */
#define INTERFACES_MAX   256
#define DEPTH_MAX        32
#define ADDRESSES_MAX    64  /* of one interface */

static bool
refuse(GError **error, VirtError code, const char *text)
{
    g_set_error_literal(error, VIRT_ERROR, code, text);
    return false;
}

bool
virt_agent_check(VirtHost *host, virDomainPtr domain, GError **error)
{
    int state = 0;
    if (virDomainGetState(domain, &state, NULL, 0) < 0)
        return virt_fail(host, domain, error, "cannot be looked at");
    if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_BLOCKED)
        return refuse(error, VIRT_ERROR_STATE, "the guest is paused");
    char *xml = virDomainGetXMLDesc(domain, 0);
    if (xml == NULL)
        return virt_fail(host, domain, error, "cannot be looked at");
    g_autoptr(xmlDoc) doc = domxml_parse(xml, error);
    free(xml);
    if (doc == NULL)
        return false;
    xmlNode *devices = domxml_child(xmlDocGetRootElement(doc), "devices");
    for (xmlNode *node = domxml_child(devices, "channel"); node != NULL; node = domxml_next(node, "channel")) {
        const xmlNode *target = domxml_child(node, "target");
        if (!domxml_attr_is(target, "name", AGENT_CHANNEL))
            continue;
        return domxml_attr_is(target, "state", "connected") ||
               refuse(error, VIRT_ERROR_STATE, "the guest's agent does not run; install and start qemu-guest-agent in the guest");
    }
    return refuse(error, VIRT_ERROR_FAILED, "the VM has no channel " AGENT_CHANNEL " for a guest agent; add it to its definition, "
                  "and run qemu-guest-agent in the guest");
}

bool
virt_agent_is_ready(VirtHost *host, const char *uuid, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    return domain != NULL && virt_agent_check(host, domain, error);
}

/* ---- commands ---- */

/* { "execute": NAME, "arguments": {...} }; the caller adds the arguments and ends both. */
static JsonBuilder *
command_new(const char *name)
{
    JsonBuilder *builder = json_builder_new();
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "execute");
    json_builder_add_string_value(builder, name);
    json_builder_set_member_name(builder, "arguments");
    json_builder_begin_object(builder);
    return builder;
}

static char *
command_text(JsonBuilder *builder)
{
    json_builder_end_object(builder);
    json_builder_end_object(builder);
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    return json_to_string(root, FALSE);
}

static bool
refuse_answer(GError **error, const char *name)
{
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "the guest's agent gave no sense as an answer to %s", name);
    return false;
}

/* The parser calls itself for each level, and would go as deep as the guest wants. */
static bool
is_flat(const char *json)
{
    unsigned depth = 0;
    bool quoted = false;
    for (; *json != '\0' && depth <= DEPTH_MAX; json++) {
        if (quoted && *json == '\\' && json[1] != '\0')
            json++;
        else if (*json == '"')
            quoted = !quoted;
        else if (!quoted && (*json == '{' || *json == '['))
            depth++;
        else if (!quoted && (*json == '}' || *json == ']') && depth > 0)
            depth--;
    }
    return depth <= DEPTH_MAX;
}

/* As one line that can be shown. */
static char *
clean(char *text)
{
    for (char *c = text; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    }
    return g_strstrip(text);
}

/* What is in "return" of the answer: (transfer full) an object, or an array when @as_array. */
static JsonNode *
ask(VirtHost *host, const char *uuid, JsonBuilder *builder, const char *name, bool as_array, GError **error)
{
    g_autofree char *command = command_text(builder);
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return NULL;
    char *answer = virDomainQemuAgentCommand(domain, command, ANSWER_SEC, 0);
    if (answer == NULL) {
        virt_fail(host, domain, error, "has an agent in its guest that does not do %s", name);
        if (error != NULL && *error != NULL)
            clean((*error)->message); /* some of it may be the agent's */
        return NULL;
    }
    g_autoptr(JsonNode) root = is_flat(answer) ? json_from_string(answer, NULL) : NULL;
    free(answer);
    JsonObject *object = root != NULL && JSON_NODE_HOLDS_OBJECT(root) ? json_node_get_object(root) : NULL;
    JsonNode *found = object != NULL ? json_object_get_member(object, "return") : NULL;
    if (found != NULL && (as_array ? JSON_NODE_HOLDS_ARRAY(found) : JSON_NODE_HOLDS_OBJECT(found)))
        return json_node_copy(found);
    refuse_answer(error, name);
    return NULL;
}

static const char *
text_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) :
                                                                                                              NULL;
}

static int64_t
number_member(JsonObject *object, const char *name, int64_t missing)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64 ? json_node_get_int(node) :
                                                                                                             missing;
}

static JsonObject *
object_element(JsonArray *array, guint i)
{
    JsonNode *node = json_array_get_element(array, i);
    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/* ---- what it tells ---- */

char *
virt_agent_system(VirtHost *host, const char *uuid, GError **error)
{
    g_autoptr(JsonBuilder) builder = command_new("guest-get-osinfo");
    g_autoptr(JsonNode) answer = ask(host, uuid, builder, "guest-get-osinfo", false, error);
    if (answer == NULL)
        return NULL;
    const char *id = text_member(json_node_get_object(answer), "id");
    return g_strdup(id != NULL ? id : "");
}

void
virt_guest_interface_free(VirtGuestInterface *self)
{
    if (self == NULL)
        return;
    g_free(self->name);
    g_free(self->mac);
    g_strfreev(self->addresses);
    g_free(self);
}

static char **
read_addresses(JsonObject *object)
{
    g_autoptr(GPtrArray) addresses = g_ptr_array_new();
    JsonNode *node = json_object_get_member(object, "ip-addresses");
    JsonArray *array = node != NULL && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    for (guint i = 0; array != NULL && i < MIN(json_array_get_length(array), ADDRESSES_MAX); i++) {
        JsonObject *one = object_element(array, i);
        const char *address = one != NULL ? text_member(one, "ip-address") : NULL;
        if (address != NULL)
            g_ptr_array_add(addresses, g_strdup_printf("%s/%" G_GINT64_FORMAT, address, number_member(one, "prefix", 0)));
    }
    g_ptr_array_add(addresses, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&addresses), FALSE);
}

GPtrArray *
virt_agent_interfaces(VirtHost *host, const char *uuid, GError **error)
{
    g_autoptr(JsonBuilder) builder = command_new("guest-network-get-interfaces");
    g_autoptr(JsonNode) answer = ask(host, uuid, builder, "guest-network-get-interfaces", true, error);
    if (answer == NULL)
        return NULL;
    GPtrArray *interfaces = g_ptr_array_new_with_free_func((GDestroyNotify)virt_guest_interface_free);
    JsonArray *array = json_node_get_array(answer);
    for (guint i = 0; i < MIN(json_array_get_length(array), INTERFACES_MAX); i++) {
        JsonObject *one = object_element(array, i);
        const char *name = one != NULL ? text_member(one, "name") : NULL, *mac = one != NULL ? text_member(one, "hardware-address") : NULL;
        if (name == NULL || mac == NULL)
            continue;
        VirtGuestInterface *interface = g_new0(VirtGuestInterface, 1);
        interface->name = g_strdup(name);
        interface->mac = g_ascii_strdown(mac, -1);
        interface->addresses = read_addresses(one);
        g_ptr_array_add(interfaces, interface);
    }
    return interfaces;
}

/* ---- what it runs ---- */

static bool
begin_run(VirtHost *host, const char *uuid, const char *const *argv, const char *input, int64_t *ret_pid, GError **error)
{
    g_autoptr(JsonBuilder) builder = command_new("guest-exec");
    json_builder_set_member_name(builder, "path");
    json_builder_add_string_value(builder, argv[0]);
    json_builder_set_member_name(builder, "arg");
    json_builder_begin_array(builder);
    for (size_t i = 1; argv[i] != NULL; i++)
        json_builder_add_string_value(builder, argv[i]);
    json_builder_end_array(builder);
    if (input != NULL) {
        g_autofree char *encoded = g_base64_encode((const guchar *)input, strlen(input));
        json_builder_set_member_name(builder, "input-data");
        json_builder_add_string_value(builder, encoded);
    }
    json_builder_set_member_name(builder, "capture-output");
    json_builder_add_boolean_value(builder, TRUE);
    g_autoptr(JsonNode) answer = ask(host, uuid, builder, "guest-exec", false, error);
    *ret_pid = answer != NULL ? number_member(json_node_get_object(answer), "pid", -1) : -1;
    return answer != NULL && (*ret_pid >= 0 || refuse_answer(error, "guest-exec"));
}

/* The last words of @encoded (nullable) as one line that can be shown; "" for none. */
static char *
last_words(const char *encoded)
{
    gsize length = 0;
    g_autofree guchar *data = encoded != NULL && encoded[0] != '\0' ? g_base64_decode(encoded, &length) : NULL;
    if (data == NULL || length == 0)
        return g_strdup("");
    gsize skipped = length > OUTPUT_MAX_BYTES ? length - OUTPUT_MAX_BYTES : 0;
    return clean(g_utf8_make_valid((const char *)data + skipped, (gssize)(length - skipped)));
}

static bool
take_result(JsonObject *status, const char *name, char **ret_output, GError **error)
{
    int64_t code = number_member(status, "exitcode", -1);
    g_autofree char *said = last_words(text_member(status, "out-data"));
    g_autofree char *complaint = last_words(text_member(status, "err-data"));
    if (code == 0) {
        if (ret_output != NULL)
            *ret_output = g_steal_pointer(&said);
        return true;
    }
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "'%s' in the guest ended with status %" G_GINT64_FORMAT ": %s", name, code,
                complaint[0] != '\0' ? complaint : said);
    return false;
}

bool
virt_agent_run(VirtHost *host, const char *uuid, const char *const *argv, const char *input, unsigned timeout_sec,
               const gint *cancelled, char **ret_output, GError **error)
{
    int64_t pid, deadline = g_get_monotonic_time() + (int64_t)timeout_sec * G_USEC_PER_SEC;
    if (!begin_run(host, uuid, argv, input, &pid, error))
        return false;
    for (int64_t pause = LOOK_FIRST_USEC; g_get_monotonic_time() < deadline && g_atomic_int_get(cancelled) == 0;
         pause = MIN(pause * 2, LOOK_LAST_USEC)) {
        g_autoptr(JsonBuilder) builder = command_new("guest-exec-status");
        json_builder_set_member_name(builder, "pid");
        json_builder_add_int_value(builder, pid);
        g_autoptr(JsonNode) answer = ask(host, uuid, builder, "guest-exec-status", false, error);
        if (answer == NULL)
            return false;
        JsonObject *status = json_node_get_object(answer);
        JsonNode *exited = json_object_get_member(status, "exited");
        if (exited != NULL && JSON_NODE_HOLDS_VALUE(exited) && json_node_get_value_type(exited) == G_TYPE_BOOLEAN &&
            json_node_get_boolean(exited))
            return take_result(status, argv[0], ret_output, error);
        g_usleep((gulong)pause);
    }
    if (g_atomic_int_get(cancelled) != 0)
        return refuse(error, VIRT_ERROR_GAVE_UP, "a program that runs in the guest is not waited for any more");
    g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "'%s' in the guest has not ended within %u s", argv[0], timeout_sec);
    return false;
}
