#include "cli/commands.h"
#include "cli/output.h"
#include "cli/session.h"

#include "config.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>

static const CommandOption program_options[] = {
    { "version", 'V', NULL, "show the version of this program" },
    { NULL },
};

static void
print_help(void)
{
    g_autoptr(GString) options = g_string_new(NULL);

    printf("Usage: virt-replica [-c URI] COMMAND [ARGUMENTS]\n\nReplicates running KVM VMs to another host and fails them "
           "over.\n\nCommands:\n");
    for (const Command *command = commands_table(); command->name != NULL; command++)
        printf("  %-16s %s\n", command->name, command->summary);
    command_help_options(command_common_options, options);
    command_help_options(program_options, options);
    printf("\nOptions:\n%s\n'virt-replica COMMAND --help' shows the options of a command; virt-replica(1) tells more.\n",
           options->str);
}

static bool
check_text(char **argv, GError **error)
{
    for (; *argv != NULL; argv++) {
        if (!g_utf8_validate(*argv, -1, NULL)) {
            g_set_error_literal(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "The command line is not UTF-8 text");
            return false;
        }
    }
    return true;
}

static bool
check_arguments(const Command *command, const CommandLine *line, GError **error)
{
    unsigned given = g_strv_length((char **)command_line_words(line));

    if (given >= command->required && given <= command->allowed)
        return true;
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "Wrong number of arguments; usage: virt-replica %s%s%s",
                command->name, command->arguments != NULL ? " " : "", command->arguments != NULL ? command->arguments : "");
    return false;
}

static const char *
either(const CommandLine *later, const CommandLine *earlier, const char *option)
{
    const char *value = command_line_value(later, option);

    return value != NULL ? value : command_line_value(earlier, option);
}

/* @global: what stood before the command's name */
static bool
run_command(const Command *command, const CommandLine *global, const char *const *words, GError **error)
{
    const CommandOption *lists[COMMAND_LISTS_MAX + 1] = { command_common_options };
    g_autoptr(CommandLine) line = NULL;
    g_autoptr(Session) session = NULL;
    g_autofree char *help = NULL;
    SessionOptions options;

    for (size_t i = 0; command->options != NULL && command->options[i] != NULL; i++) {
        g_assert(i + 1 < COMMAND_LISTS_MAX);
        lists[i + 1] = command->options[i];
    }
    line = command_line_parse(lists, words, false, error);
    if (line == NULL)
        return false;
    if (command_line_switch(line, "help") || command_line_switch(global, "help")) {
        help = command_help(command);
        fputs(help, stdout);
        return true;
    }
    if (!check_arguments(command, line, error))
        return false;
    options.uri = either(line, global, "connect");
    if (options.uri == NULL)
        options.uri = g_getenv("VIRT_REPLICA_CONNECT");
    options.ca_file = either(line, global, "ca");
    options.quiet = command_line_switch(line, "quiet") || command_line_switch(global, "quiet");
    session = session_open(&options, error);
    return session != NULL && command->run(session, line, error);
}

static bool
run(char **argv, GError **error)
{
    static const CommandOption *const lists[] = { command_common_options, program_options, NULL };
    g_autoptr(CommandLine) global = NULL;
    const Command *command;
    const char *name;

    if (!check_text(argv, error))
        return false;
    global = command_line_parse(lists, (const char *const *)argv + 1, true, error);
    if (global == NULL)
        return false;
    name = command_line_word(global, 0);
    if (command_line_switch(global, "version")) {
        printf("virt-replica %s\n", VERSION);
        return true;
    }
    if (name == NULL && command_line_switch(global, "help")) {
        print_help();
        return true;
    }
    command = name != NULL ? commands_find(name) : NULL;
    if (command == NULL) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "%s%s%s; see 'virt-replica --help'",
                    name != NULL ? "There is no command '" : "No command given", name != NULL ? name : "",
                    name != NULL ? "'" : "");
        return false;
    }
    return run_command(command, global, command_line_words(global) + 1, error);
}

static void
print_error(const GError *error)
{
    g_autofree char *clean = output_clean(error->message);

    fflush(stdout);
    fprintf(stderr, "error: %s\n", clean);
    if (g_error_matches(error, HTTP_ERROR, HTTP_ERROR_CONNECT))
        fprintf(stderr, "error: is virt-replicad running, and may this user reach it (local socket: root and the group that "
                        "virt-replicad.conf names)?\n");
}

int
main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;

    setlocale(LC_ALL, "");
    if (!run(argv, &error)) {
        print_error(error);
        return command_exit_status(error);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("error: standard output");
        return COMMAND_ERROR_REFUSED;
    }
    return 0;
}
