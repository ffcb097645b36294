/* adapters: Msvm_FailoverNetworkAdapterSettingData as words for a person, and a command line as such an instance. Pure. */
#pragma once

#include "cli/command.h"
#include "cli/wsman-object.h"

#include <json-glib/json-glib.h>

/* "DHCP, fd00::5/64"; NULL for an adapter that nothing is set for. (transfer full) */
char *adapters_addresses(const WsmanInstance *settings);
/* The items of a property with commas between them; NULL for none. (transfer full) */
char *adapters_list(const WsmanInstance *settings, const char *property);
void  adapters_json(JsonBuilder *builder, const WsmanInstance *settings);

/* What of --ip, --gateway, --dns, --dhcp and --clear makes no sense, before anybody is asked. */
bool           adapters_check_line(const CommandLine *line, GError **error);
WsmanEmbedded *adapters_from_line(const CommandLine *line, GError **error); /* without its InstanceID */
