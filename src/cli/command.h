/* command: what a subcommand is, and the reading of its command line. Knows no single command; commands.h lists them. */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum { /* the exit status of the program; 0 is success */
    COMMAND_ERROR_REFUSED = 1,     /* the service said no, or the work failed */
    COMMAND_ERROR_USAGE = 2,       /* the command line makes no sense */
    COMMAND_ERROR_UNREACHABLE = 3, /* the service does not answer */
    COMMAND_ERROR_INTERRUPTED = 130, /* Ctrl-C while waiting; the job goes on */
} CommandError;
#define COMMAND_ERROR (command_error_quark())
GQuark command_error_quark(void);
/* Exit status for an error of any layer. */
int    command_exit_status(const GError *error);

typedef struct {
    const char *name;   /* without dashes; NULL ends a list */
    char        letter; /* or 0 */
    const char *value;  /* name of its value in help; NULL: a switch */
    const char *help;
} CommandOption;

#define COMMAND_OPTIONS_MAX 32 /* of one command, common ones included */
#define COMMAND_LISTS_MAX   6  /* of option lists, the same */

typedef struct CommandLine CommandLine;
/**
 * command_line_parse:
 * @lists: option lists that may be used, NULL at the end
 * @words: words after the program's or command's name, NULL at the end
 * @stop: options end at the first word that is none
 */
CommandLine *command_line_parse(const CommandOption *const *lists, const char *const *words, bool stop, GError **error);
void         command_line_free(CommandLine *self);
const char  *command_line_value(const CommandLine *self, const char *option);  /* NULL when not given */
bool         command_line_switch(const CommandLine *self, const char *option);
/* Words that are no options, NULL at the end. */
const char *const *command_line_words(const CommandLine *self);
const char  *command_line_word(const CommandLine *self, unsigned index);       /* NULL past the end */

typedef struct Session Session;

typedef struct {
    const char *name;
    const char *arguments;       /* as in the synopsis: "VM"; NULL without any */
    unsigned    required, allowed; /* number of arguments */
    const char *summary;
    const CommandOption *const *options; /* lists, NULL at the end */
    bool (*run)(Session *session, const CommandLine *line, GError **error);
} Command;

/* "virt-replica failover VM [OPTIONS]", the summary and the options, for --help. */
char *command_help(const Command *command);
/* Appends one line for each option. */
void  command_help_options(const CommandOption *options, GString *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CommandLine, command_line_free)
