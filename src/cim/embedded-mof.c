/* MOF form of an embedded instance.
 *
 *   instance  = [ qualifiers ] "instance" "of" class [ "as" $alias ] "{" { [ qualifiers ] name "=" value ";" } "}" [ ";" ]
 *   value     = constant | "{" [ constant { "," constant } ] "}"
 *   constant  = "text" { "text" } | 'c' | number | TRUE | FALSE | NULL
 */
#include "cim/embedded.h"

#include <string.h>

typedef struct {
    const char *text, *at;
    GError    **error;
} Scanner;

static bool
expected(Scanner *in, const char *what)
{
    if (in->error == NULL || *in->error == NULL)
        g_set_error(in->error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER,
                    "The embedded instance is no MOF: %s expected at position %d",
                    what, (int) (in->at - in->text) + 1);
    return false;
}

static void
skip_until(Scanner *in, const char *end)
{
    const char *found = strstr(in->at, end);

    in->at = found == NULL ? in->at + strlen(in->at) : found + strlen(end);
}

static void
skip_blanks(Scanner *in)
{
    for (;;) {
        while (g_ascii_isspace(*in->at))
            in->at++;
        if (strncmp(in->at, "//", 2) == 0)
            skip_until(in, "\n");
        else if (strncmp(in->at, "/*", 2) == 0)
            skip_until(in, "*/");
        else
            return;
    }
}

static bool
accept(Scanner *in, char mark)
{
    skip_blanks(in);
    if (*in->at != mark)
        return false;
    in->at++;
    return true;
}

static bool
expect(Scanner *in, char mark)
{
    char what[] = { '\'', mark, '\'', '\0' };

    return accept(in, mark) || expected(in, what);
}

static char *
take_word(Scanner *in)
{
    const char *start;

    skip_blanks(in);
    start = in->at;
    while (g_ascii_isalnum(*in->at) || *in->at == '_')
        in->at++;
    return g_strndup(start, (size_t) (in->at - start));
}

static bool
accept_word(Scanner *in, const char *word)
{
    const char *start;
    g_autofree char *found = NULL;

    skip_blanks(in);
    start = in->at;
    found = take_word(in);
    if (g_ascii_strcasecmp(found, word) == 0)
        return true;
    in->at = start;
    return false;
}

static void
take_escape(Scanner *in, GString *out)
{
    static const char letters[] = "btnfr", meant[] = "\b\t\n\f\r";
    const char *letter;
    unsigned code = 0;

    in->at++;
    if (*in->at == 'x' || *in->at == 'X') {
        for (unsigned i = 0; i < 4 && g_ascii_isxdigit(in->at[1]); i++, in->at++)
            code = code * 16 + (unsigned) g_ascii_xdigit_value(in->at[1]);
        if (code != 0 && g_unichar_validate(code))
            g_string_append_unichar(out, code);
        return;
    }
    letter = *in->at == '\0' ? NULL : strchr(letters, *in->at);
    g_string_append_c(out, letter == NULL ? *in->at : meant[letter - letters]);
}

static bool
take_quoted(Scanner *in, GString *out)
{
    char quote = *in->at;

    for (in->at++; *in->at != quote; in->at++) {
        if (*in->at == '\0' || (*in->at == '\\' && in->at[1] == '\0'))
            return expected(in, "the end of the text");
        if (*in->at == '\\')
            take_escape(in, out);
        else
            g_string_append_c(out, *in->at);
    }
    in->at++;
    return true;
}

static char *
take_strings(Scanner *in)
{
    GString *out = g_string_new(NULL);
    bool ok;

    do {
        ok = take_quoted(in, out);
        skip_blanks(in);
    } while (ok && *in->at == '"');
    return g_string_free(out, !ok);
}

/* @ret: NULL for the constant NULL */
static bool
take_constant(Scanner *in, char **ret)
{
    size_t length;

    skip_blanks(in);
    if (*in->at == '"' || *in->at == '\'') {
        *ret = take_strings(in);
        return *ret != NULL;
    }
    length = strspn(in->at, "+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    if (length == 0)
        return expected(in, "a constant");
    *ret = g_strndup(in->at, length);
    in->at += length;
    if (g_ascii_strcasecmp(*ret, "NULL") == 0)
        g_clear_pointer(ret, g_free);
    return true;
}

static bool
take_array(Scanner *in, GPtrArray *texts)
{
    char *text;

    if (accept(in, '}'))
        return true;
    do {
        if (!take_constant(in, &text))
            return false;
        g_ptr_array_add(texts, text);
    } while (accept(in, ','));
    return expect(in, '}');
}

/* @ret: NULL for a null value */
static bool
take_value(Scanner *in, GPtrArray **ret, bool *ret_is_array)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    char *text;

    *ret = NULL;
    *ret_is_array = accept(in, '{');
    if (*ret_is_array) {
        if (!take_array(in, texts))
            return false;
    } else {
        if (!take_constant(in, &text))
            return false;
        if (text == NULL)
            return true;
        g_ptr_array_add(texts, text);
    }
    *ret = g_steal_pointer(&texts);
    return true;
}

static bool
skip_qualifiers(Scanner *in)
{
    g_autoptr(GString) ignored = g_string_new(NULL);

    if (!accept(in, '['))
        return true;
    while (*in->at != ']') {
        if (*in->at == '\0')
            return expected(in, "']'");
        if (*in->at == '"') {
            if (!take_quoted(in, ignored))
                return false;
        } else
            in->at++;
    }
    in->at++;
    return true;
}

static bool
read_assignment(Scanner *in, CimInstance *instance)
{
    g_autofree char *name = NULL;
    g_autoptr(GPtrArray) texts = NULL;
    const CimProperty *property;
    bool is_array;

    if (!skip_qualifiers(in))
        return false;
    name = take_word(in);
    if (*name == '\0')
        return expected(in, "the name of a property");
    if (!embedded_property(instance, name, &property, in->error) || !expect(in, '=') ||
        !take_value(in, &texts, &is_array) || !expect(in, ';'))
        return false;
    return property == NULL || embedded_set(instance, property, texts, is_array, in->error);
}

static bool
read_body(Scanner *in, CimInstance *instance)
{
    if (!expect(in, '{'))
        return false;
    while (!accept(in, '}')) {
        if (!read_assignment(in, instance))
            return false;
    }
    accept(in, ';');
    skip_blanks(in);
    return *in->at == '\0' || expected(in, "the end");
}

static bool
read_alias(Scanner *in)
{
    g_autofree char *alias = NULL;

    if (!accept_word(in, "as"))
        return true;
    if (!expect(in, '$'))
        return false;
    alias = take_word(in);
    return true;
}

static CimInstance *
read_instance(Scanner *in, const char *cim_namespace)
{
    g_autofree char *class_name = NULL;
    CimInstance *instance;

    if (!skip_qualifiers(in))
        return NULL;
    if (!accept_word(in, "instance") || !accept_word(in, "of")) {
        expected(in, "'instance of'");
        return NULL;
    }
    class_name = take_word(in);
    instance = embedded_instance_new(cim_namespace, class_name, in->error);
    if (instance != NULL && !(read_alias(in) && read_body(in, instance)))
        g_clear_pointer(&instance, cim_instance_free);
    return instance;
}

CimInstance *
embedded_from_mof(const char *text, const char *cim_namespace, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    Scanner in = { text, text, &own_error };
    CimInstance *instance = read_instance(&in, cim_namespace);

    if (instance == NULL)
        g_propagate_error(error, g_steal_pointer(&own_error));
    return instance;
}

bool
embedded_is_mof(const char *text)
{
    return g_ascii_strncasecmp(text, "instance", strlen("instance")) == 0 || g_str_has_prefix(text, "//") ||
           g_str_has_prefix(text, "/*") || *text == '[';
}
