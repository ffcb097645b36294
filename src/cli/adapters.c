#include "cli/adapters.h"

#include "cli/output.h"

#include <string.h>

/* ---- showing ---- */

static const char *
item(const GPtrArray *values, guint i)
{
    return values != NULL && i < values->len ? values->pdata[i] : NULL;
}

/* "255.255.255.0" as 24; others as they are. (transfer full) */
static char *
prefix_text(const char *subnet)
{
    g_auto(GStrv) parts = g_strsplit(subnet, ".", -1);
    unsigned length = 0;

    if (g_strv_length(parts) != 4)
        return g_strdup(subnet);
    for (char **part = parts; *part != NULL; part++) {
        for (guint64 byte = g_ascii_strtoull(*part, NULL, 10); byte != 0; byte &= byte - 1)
            length++;
    }
    return g_strdup_printf("%u", length);
}

/* "10.0.0.5/24" of each; of char* */
static GPtrArray *
addresses_of(const WsmanInstance *settings)
{
    const GPtrArray *addresses = wsman_instance_values(settings, "IPAddresses"), *subnets = wsman_instance_values(settings, "Subnets");
    GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; item(addresses, i) != NULL; i++) {
        g_autofree char *prefix = prefix_text(item(subnets, i) != NULL ? item(subnets, i) : "?");

        g_ptr_array_add(texts, g_strdup_printf("%s/%s", (const char *)item(addresses, i), prefix));
    }
    return texts;
}

static char *
join(const GPtrArray *values)
{
    GString *text;

    if (values == NULL || values->len == 0)
        return NULL;
    text = g_string_new(NULL);
    for (guint i = 0; i < values->len; i++)
        g_string_append_printf(text, "%s%s", i > 0 ? ", " : "", (const char *)values->pdata[i]);
    return g_string_free(text, FALSE);
}

char *
adapters_addresses(const WsmanInstance *settings)
{
    g_autoptr(GPtrArray) addresses = addresses_of(settings);

    if (wsman_instance_flag(settings, "DHCPEnabled"))
        g_ptr_array_insert(addresses, 0, g_strdup("DHCP"));
    return join(addresses);
}

char *
adapters_list(const WsmanInstance *settings, const char *property)
{
    return join(wsman_instance_values(settings, property));
}

static void
json_list(JsonBuilder *builder, const char *name, const GPtrArray *values)
{
    g_autoptr(GPtrArray) none = g_ptr_array_new();

    output_json_strings(builder, name, values != NULL ? values : none);
}

void
adapters_json(JsonBuilder *builder, const WsmanInstance *settings)
{
    g_autoptr(GPtrArray) addresses = addresses_of(settings);

    output_json_flag(builder, "dhcp", wsman_instance_flag(settings, "DHCPEnabled"));
    json_list(builder, "addresses", addresses);
    json_list(builder, "gateways", wsman_instance_values(settings, "DefaultGateways"));
    json_list(builder, "dns", wsman_instance_values(settings, "DNSServers"));
}

/* ---- from a command line ---- */

/* The words between commas; an empty list for NULL. */
static char **
split(const char *list)
{
    char **words = g_strsplit(list != NULL ? list : "", ",", -1);

    for (char **word = words; *word != NULL; word++)
        g_strstrip(*word);
    return words;
}

static bool
usage(GError **error, const char *text)
{
    g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, text);
    return false;
}

bool
adapters_check_line(const CommandLine *line, GError **error)
{
    const char *list = command_line_value(line, "ip");
    g_auto(GStrv) addresses = split(list);
    bool dhcp = command_line_switch(line, "dhcp"), more = command_line_value(line, "gateway") != NULL || command_line_value(line, "dns") != NULL;

    if (command_line_switch(line, "clear") && (list != NULL || dhcp || more))
        return usage(error, "--clear takes all settings of the adapter away; leave the others out");
    if (more && list == NULL && !dhcp)
        return usage(error, "--gateway and --dns are given together with --ip or --dhcp: they replace what was set");
    for (char **address = addresses; *address != NULL; address++) {
        const char *slash = strchr(*address, '/');

        if (slash == NULL || slash == *address || slash[1] == '\0') {
            g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "--ip: '%s' is no address with the length of its prefix, such as "
                        "10.0.0.5/24 or fd00::5/64", *address);
            return false;
        }
    }
    return true;
}

static void
set_list(WsmanEmbedded *settings, const char *name, const char *list)
{
    g_auto(GStrv) words = split(list);

    wsman_embedded_set_array(settings, name, "string", (const char *const *)words);
}

WsmanEmbedded *
adapters_from_line(const CommandLine *line, GError **error)
{
    g_auto(GStrv) addresses = split(command_line_value(line, "ip"));
    g_autoptr(GPtrArray) subnets = g_ptr_array_new();
    WsmanEmbedded *settings;

    if (!adapters_check_line(line, error))
        return NULL;
    for (char **address = addresses; *address != NULL; address++) {
        char *slash = strchr(*address, '/');

        *slash = '\0';
        g_ptr_array_add(subnets, slash + 1);
    }
    g_ptr_array_add(subnets, NULL);
    settings = wsman_embedded_new("Msvm_FailoverNetworkAdapterSettingData");
    wsman_embedded_set(settings, "DHCPEnabled", "boolean", command_line_switch(line, "dhcp") ? "TRUE" : "FALSE");
    wsman_embedded_set_array(settings, "IPAddresses", "string", (const char *const *)addresses);
    wsman_embedded_set_array(settings, "Subnets", "string", (const char *const *)subnets->pdata);
    set_list(settings, "DefaultGateways", command_line_value(line, "gateway"));
    set_list(settings, "DNSServers", command_line_value(line, "dns"));
    return settings;
}
