/* settings: Msvm_ReplicationSettingData as 'enable' and 'modify' send it: what the service shows for the VM, changed by options. Pure. */
#pragma once

#include "cli/command.h"
#include "cli/wsman-object.h"

/* What is wrong with the options of 'enable' can be said before anybody is asked. */
bool           settings_check_line(const CommandLine *line, GError **error);
WsmanEmbedded *settings_from_line(const WsmanInstance *current, const CommandLine *line, GError **error);
/* Seconds from one cycle to the next: AdditionalSettings go before ReplicationInterval. */
unsigned       settings_interval(const WsmanInstance *settings);

/* The settings that a relationship has, with the former primary as the replica server; --to and --port of @line say otherwise. (transfer full) */
WsmanEmbedded *settings_for_reverse(const WsmanInstance *current, const CommandLine *line, GError **error);

/* What is wrong with the options of 'modify', or that there is none. */
bool           settings_check_changes(const CommandLine *line, GError **error);
/* Only what the options name; the rest is null, and stays. (transfer full) */
WsmanEmbedded *settings_changes(const WsmanInstance *current, const CommandLine *line, GError **error);
