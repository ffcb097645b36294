/* commands: the table of subcommands. The manual page and the shell completion are held to it by a test. */
#pragma once

#include "cli/command.h"

/* Options that every command takes, before or after its name. */
extern const CommandOption command_common_options[];

/* Rows end with a NULL name; in the order of the manual page. */
const Command *commands_table(void);
const Command *commands_find(const char *name); /* NULL when there is none */

/* The functions behind the rows: commands-read.c only reads, commands-statistics.c measures, commands-network.c sets addresses, commands-vm.c changes VMs, commands-server.c the server. */
bool command_list(Session *session, const CommandLine *line, GError **error);
bool command_status(Session *session, const CommandLine *line, GError **error);
bool command_statistics(Session *session, const CommandLine *line, GError **error);
bool command_points(Session *session, const CommandLine *line, GError **error);
bool command_jobs(Session *session, const CommandLine *line, GError **error);
bool command_version(Session *session, const CommandLine *line, GError **error);

bool command_enable(Session *session, const CommandLine *line, GError **error);
bool command_modify(Session *session, const CommandLine *line, GError **error);
bool command_start_initial(Session *session, const CommandLine *line, GError **error);
bool command_import_initial(Session *session, const CommandLine *line, GError **error);
bool command_cancel(Session *session, const CommandLine *line, GError **error);
bool command_suspend(Session *session, const CommandLine *line, GError **error);
bool command_resync(Session *session, const CommandLine *line, GError **error);
bool command_resume(Session *session, const CommandLine *line, GError **error);
bool command_remove(Session *session, const CommandLine *line, GError **error);
bool command_failover(Session *session, const CommandLine *line, GError **error);
bool command_failover_network(Session *session, const CommandLine *line, GError **error);
bool command_test(Session *session, const CommandLine *line, GError **error);
bool command_test_end(Session *session, const CommandLine *line, GError **error);
bool command_continue(Session *session, const CommandLine *line, GError **error);
bool command_commit(Session *session, const CommandLine *line, GError **error);
bool command_planned_failover(Session *session, const CommandLine *line, GError **error);
bool command_prepare(Session *session, const CommandLine *line, GError **error);
bool command_as_replica(Session *session, const CommandLine *line, GError **error);
bool command_reverse(Session *session, const CommandLine *line, GError **error);
bool command_revert(Session *session, const CommandLine *line, GError **error);
bool command_start(Session *session, const CommandLine *line, GError **error);
bool command_stop(Session *session, const CommandLine *line, GError **error);
bool command_shutdown(Session *session, const CommandLine *line, GError **error);

bool command_server(Session *session, const CommandLine *line, GError **error);
bool command_authorize(Session *session, const CommandLine *line, GError **error);
bool command_unauthorize(Session *session, const CommandLine *line, GError **error);
bool command_entries(Session *session, const CommandLine *line, GError **error);
