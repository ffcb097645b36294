#include "cim/cim.h"

#include <string.h>

CimPath *
cim_path_new(const char *cim_namespace, const char *class_name)
{
    CimPath *self = g_new0(CimPath, 1);

    self->cim_namespace = g_strdup(cim_namespace);
    self->class_name = g_strdup(class_name);
    self->names = g_ptr_array_new_with_free_func(g_free);
    self->values = g_ptr_array_new_with_free_func((GDestroyNotify) cim_value_free);
    return self;
}

void
cim_path_add(CimPath *self, const char *name, CimValue *value)
{
    g_ptr_array_add(self->names, g_strdup(name));
    g_ptr_array_add(self->values, value);
}

const CimValue *
cim_path_key(const CimPath *self, const char *name)
{
    for (unsigned i = 0; i < self->names->len; i++) {
        if (g_ascii_strcasecmp(self->names->pdata[i], name) == 0)
            return self->values->pdata[i];
    }
    return NULL;
}

CimPath *
cim_path_copy(const CimPath *self)
{
    CimPath *copy = cim_path_new(self->cim_namespace, self->class_name);

    for (unsigned i = 0; i < self->names->len; i++)
        cim_path_add(copy, self->names->pdata[i], cim_value_copy(self->values->pdata[i]));
    return copy;
}

void
cim_path_free(CimPath *self)
{
    if (self == NULL)
        return;
    g_free(self->cim_namespace);
    g_free(self->class_name);
    g_ptr_array_unref(self->names);
    g_ptr_array_unref(self->values);
    g_free(self);
}

/* ---- to text ---- */

static void
append_quoted(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            g_string_append_c(out, '\\');
        g_string_append_c(out, *text);
    }
    g_string_append_c(out, '"');
}

static void
append_value(GString *out, const CimValue *value, const char *host)
{
    g_autofree char *text = value->type == CIM_REFERENCE && !value->is_null ? cim_path_to_text(value->v.path, host)
                                                                            : cim_value_to_text(value);
    bool quoted = value->type == CIM_STRING || value->type == CIM_DATETIME || value->type == CIM_REFERENCE;

    if (quoted || value->is_null)
        append_quoted(out, text);
    else
        g_string_append(out, text);
}

static int
compare_names(const void *a, const void *b, void *path)
{
    const GPtrArray *names = ((const CimPath *) path)->names;

    return g_ascii_strcasecmp(names->pdata[*(const unsigned *) a], names->pdata[*(const unsigned *) b]);
}

static void
append_keys(GString *out, const CimPath *self, const char *host)
{
    unsigned n = self->names->len;
    g_autofree unsigned *order = g_new(unsigned, n + 1);

    for (unsigned i = 0; i < n; i++)
        order[i] = i;
    g_qsort_with_data(order, (int) n, sizeof *order, compare_names, (void *) self);
    for (unsigned i = 0; i < n; i++) {
        g_string_append_printf(out, "%c%s=", i == 0 ? '.' : ',', (char *) self->names->pdata[order[i]]);
        append_value(out, self->values->pdata[order[i]], host);
    }
}

char *
cim_path_to_text(const CimPath *self, const char *host)
{
    GString *out = g_string_new(NULL);

    if (host != NULL)
        g_string_append_printf(out, "\\\\%s\\", host);
    if (self->cim_namespace != NULL) {
        for (const char *c = self->cim_namespace; *c != '\0'; c++)
            g_string_append_c(out, *c == '/' ? '\\' : *c);
        g_string_append_c(out, ':');
    }
    g_string_append(out, self->class_name);
    append_keys(out, self, host);
    return g_string_free(out, FALSE);
}

/* ---- from text ----
 *
 *   path  = [ ("\\" | "//") host ("\" | "/") ] [ namespace ":" ] class [ "=@" | "=" value | "." name "=" value { "," name "=" value } ]
 *   value = "string" | 'string' | number | TRUE | FALSE
 */

static bool
fail(GError **error, const char *text, const char *at, const char *expected)
{
    g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER, "Object path '%.120s': %s expected at position %d", text,
                expected,
                (int) (at - text) + 1);
    return false;
}

static bool
is_slash(char c)
{
    return c == '/' || c == '\\';
}

static char *
take_name(const char **at)
{
    const char *start = *at;

    if (!g_ascii_isalpha(**at) && **at != '_')
        return NULL;
    while (g_ascii_isalnum(**at) || **at == '_')
        (*at)++;
    return g_strndup(start, (size_t) (*at - start));
}

static void
skip_blanks(const char **at)
{
    while (g_ascii_isspace(**at))
        (*at)++;
}

/* What is before the first ':' outside quotes, when there is one. */
static char *
take_namespace(const char **at)
{
    const char *colon = strpbrk(*at, ":=\"'");
    char *name;

    if (colon == NULL || *colon != ':')
        return NULL;
    name = g_strdelimit(g_strndup(*at, (size_t) (colon - *at)), "\\", '/');
    *at = colon + 1;
    return name;
}

static void
skip_host(const char **at)
{
    const char *host;

    if (!is_slash((*at)[0]) || !is_slash((*at)[1]))
        return;
    host = *at + 2;
    while (*host != '\0' && !is_slash(*host))
        host++;
    *at = is_slash(*host) ? host + 1 : host;
}

static char *
take_quoted(const char **at)
{
    char quote = **at;
    GString *out = g_string_new(NULL);

    for ((*at)++; **at != '\0' && **at != quote; (*at)++) {
        if (**at == '\\' && (*at)[1] != '\0')
            (*at)++;
        g_string_append_c(out, **at);
    }
    if (**at != quote) {
        g_string_free(out, TRUE);
        return NULL;
    }
    (*at)++;
    return g_string_free(out, FALSE);
}

static CimValue *
bare_value(const char *word)
{
    bool is_word = g_ascii_strcasecmp(word, "true") == 0 || g_ascii_strcasecmp(word, "false") == 0;

    return cim_value_from_text(is_word ? CIM_BOOLEAN : *word == '-' ? CIM_SINT64 : CIM_UINT64, word, NULL);
}

static CimValue *
take_value(const char **at)
{
    g_autofree char *text = NULL;
    size_t length;

    if (**at == '"' || **at == '\'') {
        text = take_quoted(at);
        return text == NULL ? NULL : cim_value_new_string(text);
    }
    length = strcspn(*at, ", \t\r\n");
    text = g_strndup(*at, length);
    *at += length;
    return bare_value(text);
}

static bool
parse_key(CimPath *path, const char *text, const char **at, GError **error)
{
    g_autofree char *name = NULL;
    CimValue *value;

    skip_blanks(at);
    name = take_name(at);
    if (name == NULL)
        return fail(error, text, *at, "the name of a key");
    if (cim_path_key(path, name) != NULL)
        return fail(error, text, *at, "a key that is not given yet");
    skip_blanks(at);
    if (**at != '=')
        return fail(error, text, *at, "'='");
    (*at)++;
    skip_blanks(at);
    value = take_value(at);
    if (value == NULL)
        return fail(error, text, *at, "a quoted text, a number, TRUE or FALSE");
    cim_path_add(path, name, value);
    return true;
}

static bool
parse_keys(CimPath *path, const char *text, const char **at, GError **error)
{
    do {
        (*at)++;
        if (!parse_key(path, text, at, error))
            return false;
        skip_blanks(at);
    } while (**at == ',');
    return true;
}

static const char *
single_key(const CimClass *cim_class)
{
    const char *found = NULL;

    for (unsigned i = 0; i < cim_class->n_properties; i++) {
        if ((cim_class->properties[i].flags & CIM_KEY) == 0)
            continue;
        if (found != NULL)
            return NULL;
        found = cim_class->properties[i].name;
    }
    return found;
}

/* Class="x": the value of the only key. */
static bool
parse_only_key(CimPath *path, const CimClass *cim_class, const char *text, const char **at, GError **error)
{
    const char *name = cim_class == NULL ? NULL : single_key(cim_class);
    CimValue *value;

    (*at)++;
    if (**at == '@') {
        (*at)++;
        return true;
    }
    if (name == NULL)
        return fail(error, text, *at, "'@', or a class with one key,");
    value = take_value(at);
    if (value == NULL)
        return fail(error, text, *at, "a quoted text, a number, TRUE or FALSE");
    cim_path_add(path, name, value);
    return true;
}

/* Gives keys the types that the class declares; the text tells strings from numbers only. */
static bool
type_keys(CimPath *path, const CimClass *cim_class, GError **error)
{
    for (unsigned i = 0; i < path->names->len; i++) {
        const CimProperty *property = cim_class_property(cim_class, path->names->pdata[i]);
        CimValue *value = path->values->pdata[i];
        g_autofree char *text = NULL;
        CimValue *typed;

        if (property == NULL || property->type == value->type || (property->flags & CIM_ARRAY) != 0)
            continue;
        text = cim_value_to_text(value);
        typed = property->type == CIM_REFERENCE ? NULL : cim_value_from_text(property->type, text, error);
        if (property->type == CIM_REFERENCE) {
            CimPath *target = cim_path_from_text(text, path->cim_namespace, error);
            typed = target == NULL ? NULL : cim_value_new_reference(target);
        }
        if (typed == NULL)
            return false;
        cim_value_free(value);
        path->values->pdata[i] = typed;
    }
    return true;
}

static bool
parse_after_class(CimPath *path, const CimClass *cim_class, const char *text, const char **at, GError **error)
{
    if (**at == '.' && !parse_keys(path, text, at, error))
        return false;
    if (**at == '=' && !parse_only_key(path, cim_class, text, at, error))
        return false;
    skip_blanks(at);
    if (**at != '\0')
        return fail(error, text, *at, "the end");
    return cim_class == NULL || type_keys(path, cim_class, error);
}

CimPath *
cim_path_from_text(const char *text, const char *default_namespace, GError **error)
{
    g_autofree char *cim_namespace = NULL, *class_name = NULL;
    const char *at = text;
    const CimClass *cim_class = NULL;
    CimPath *path;

    skip_blanks(&at);
    skip_host(&at);
    cim_namespace = take_namespace(&at);
    class_name = take_name(&at);
    if (class_name == NULL) {
        fail(error, text, at, "the name of a class");
        return NULL;
    }
    path = cim_path_new(cim_namespace != NULL && *cim_namespace != '\0' ? cim_namespace : default_namespace,
                        class_name);
    if (path->cim_namespace != NULL)
        cim_class = cim_class_find(path->cim_namespace, class_name);
    if (!parse_after_class(path, cim_class, text, &at, error)) {
        cim_path_free(path);
        return NULL;
    }
    return path;
}
