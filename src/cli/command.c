#include "cli/command.h"

#include "cli/wsman-client.h"

#include <string.h>

#define HELP_COLUMN 28

G_DEFINE_QUARK(command-error-quark, command_error)

int
command_exit_status(const GError *error)
{
    if (error->domain == COMMAND_ERROR)
        return error->code;
    if (error->domain == HTTP_ERROR || g_error_matches(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL))
        return COMMAND_ERROR_UNREACHABLE;
    return COMMAND_ERROR_REFUSED;
}

/* ---- command lines ---- */

struct CommandLine {
    const CommandOption *options[COMMAND_OPTIONS_MAX];
    char                *values[COMMAND_OPTIONS_MAX];
    gboolean             switches[COMMAND_OPTIONS_MAX];
    unsigned             n_options;
    char               **words;
};

void
command_line_free(CommandLine *self)
{
    if (self == NULL)
        return;
    for (unsigned i = 0; i < self->n_options; i++)
        g_free(self->values[i]);
    g_strfreev(self->words);
    g_free(self);
}

static void
add_option(CommandLine *self, const CommandOption *option, GOptionEntry *entry)
{
    unsigned index = self->n_options++;

    self->options[index] = option;
    entry->long_name = option->name;
    entry->short_name = option->letter;
    entry->arg = option->value != NULL ? G_OPTION_ARG_STRING : G_OPTION_ARG_NONE;
    entry->arg_data = option->value != NULL ? (void *)&self->values[index] : (void *)&self->switches[index];
}

static bool
parse_words(CommandLine *self, const GOptionEntry *entries, const char *const *words, bool stop, GError **error)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) wrong = NULL;
    g_auto(GStrv) rest = NULL;

    g_ptr_array_add(argv, (char *)"virt-replica");
    for (size_t i = 0; words[i] != NULL; i++)
        g_ptr_array_add(argv, (char *)words[i]);
    g_ptr_array_add(argv, NULL);
    rest = g_strdupv((char **)argv->pdata);
    g_option_context_set_help_enabled(context, FALSE);
    g_option_context_set_strict_posix(context, stop);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse_strv(context, &rest, &wrong)) {
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE, "%s", wrong->message);
        return false;
    }
    self->words = g_strdupv(rest + 1);
    if (!stop && self->words[0] != NULL && g_str_equal(self->words[0], "--")) {
        g_strfreev(self->words);
        self->words = g_strdupv(rest + 2);
    }
    return true;
}

CommandLine *
command_line_parse(const CommandOption *const *lists, const char *const *words, bool stop, GError **error)
{
    g_autoptr(CommandLine) self = g_new0(CommandLine, 1);
    GOptionEntry entries[COMMAND_OPTIONS_MAX + 1] = { 0 };

    for (; *lists != NULL; lists++) {
        for (const CommandOption *option = *lists; option->name != NULL; option++) {
            g_assert(self->n_options < COMMAND_OPTIONS_MAX);
            add_option(self, option, &entries[self->n_options]);
        }
    }
    if (!parse_words(self, entries, words, stop, error))
        return NULL;
    return g_steal_pointer(&self);
}

static unsigned
option_index(const CommandLine *self, const char *option)
{
    for (unsigned i = 0; i < self->n_options; i++) {
        if (g_str_equal(self->options[i]->name, option))
            return i;
    }
    g_assert_not_reached();
}

const char *
command_line_value(const CommandLine *self, const char *option)
{
    return self->values[option_index(self, option)];
}

bool
command_line_switch(const CommandLine *self, const char *option)
{
    return self->switches[option_index(self, option)];
}

const char *const *
command_line_words(const CommandLine *self)
{
    return (const char *const *)self->words;
}

const char *
command_line_word(const CommandLine *self, unsigned index)
{
    return index < g_strv_length(self->words) ? self->words[index] : NULL;
}

/* ---- help ---- */

void
command_help_options(const CommandOption *options, GString *text)
{
    for (; options->name != NULL; options++) {
        g_autofree char *letter = options->letter != 0 ? g_strdup_printf("-%c, ", options->letter) : g_strdup("    ");
        g_autofree char *left = g_strdup_printf("  %s--%s%s%s", letter, options->name, options->value != NULL ? " " : "",
                                                options->value != NULL ? options->value : "");

        g_string_append_printf(text, "%-*s %s\n", HELP_COLUMN, left, options->help);
    }
}

char *
command_help(const Command *command)
{
    GString *text = g_string_new(NULL);

    g_string_append_printf(text, "Usage: virt-replica [-c URI] %s%s%s%s\n\n%s\n", command->name,
                           command->arguments != NULL ? " " : "", command->arguments != NULL ? command->arguments : "",
                           command->options != NULL ? " [OPTIONS]" : "", command->summary);
    if (command->options != NULL)
        g_string_append(text, "\nOptions:\n");
    for (const CommandOption *const *list = command->options; list != NULL && *list != NULL; list++)
        command_help_options(*list, text);
    return g_string_free(text, FALSE);
}
