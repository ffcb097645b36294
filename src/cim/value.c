#include "cim/cim.h"

#include <errno.h>
#include <math.h>
#include <string.h>

typedef enum { KIND_BOOLEAN, KIND_UNSIGNED, KIND_SIGNED, KIND_REAL, KIND_STRING, KIND_PATH, KIND_INSTANCE } ValueKind;

static ValueKind
value_kind(CimType type)
{
    switch (type) {
    case CIM_BOOLEAN:
        return KIND_BOOLEAN;
    case CIM_UINT8: case CIM_UINT16: case CIM_UINT32: case CIM_UINT64: case CIM_CHAR16:
        return KIND_UNSIGNED;
    case CIM_SINT8: case CIM_SINT16: case CIM_SINT32: case CIM_SINT64:
        return KIND_SIGNED;
    case CIM_REAL32: case CIM_REAL64:
        return KIND_REAL;
    case CIM_STRING: case CIM_DATETIME:
        return KIND_STRING;
    case CIM_REFERENCE:
        return KIND_PATH;
    default:
        return KIND_INSTANCE;
    }
}

CimValue *
cim_value_new_null(CimType type, bool is_array)
{
    CimValue *self = g_new0(CimValue, 1);

    self->type = type;
    self->is_array = is_array;
    self->is_null = true;
    return self;
}

static CimValue *
value_new(CimType type)
{
    CimValue *self = cim_value_new_null(type, false);

    self->is_null = false;
    return self;
}

CimValue *
cim_value_new_uint(CimType type, uint64_t number)
{
    CimValue *self = value_new(type);

    if (value_kind(type) == KIND_SIGNED)
        self->v.sint = (int64_t) number;
    else
        self->v.uint = number;
    return self;
}

CimValue *
cim_value_new_boolean(bool value)
{
    CimValue *self = value_new(CIM_BOOLEAN);

    self->v.boolean = value;
    return self;
}

CimValue *
cim_value_new_string(const char *text)
{
    CimValue *self = cim_value_new_null(CIM_STRING, false);

    self->is_null = text == NULL;
    self->v.string = g_strdup(text);
    return self;
}

CimValue *
cim_value_new_reference(CimPath *path)
{
    CimValue *self = value_new(CIM_REFERENCE);

    self->v.path = path;
    return self;
}

CimValue *
cim_value_new_array(CimType type)
{
    CimValue *self = value_new(type);

    self->is_array = true;
    self->v.items = g_ptr_array_new_with_free_func((GDestroyNotify) cim_value_free);
    return self;
}

void
cim_value_append(CimValue *array, CimValue *item)
{
    g_assert(array->is_array && !array->is_null && !item->is_array && item->type == array->type);
    g_ptr_array_add(array->v.items, item);
}

static CimValue *
copy_array(const CimValue *self)
{
    CimValue *copy = cim_value_new_array(self->type);

    for (unsigned i = 0; i < self->v.items->len; i++)
        cim_value_append(copy, cim_value_copy(self->v.items->pdata[i]));
    return copy;
}

CimValue *
cim_value_copy(const CimValue *self)
{
    CimValue *copy;

    if (self->is_null)
        return cim_value_new_null(self->type, self->is_array);
    if (self->is_array)
        return copy_array(self);
    copy = g_memdup2(self, sizeof *self);
    if (value_kind(self->type) == KIND_STRING)
        copy->v.string = g_strdup(self->v.string);
    else if (value_kind(self->type) == KIND_PATH)
        copy->v.path = cim_path_copy(self->v.path);
    else if (value_kind(self->type) == KIND_INSTANCE)
        copy->v.instance = cim_instance_copy(self->v.instance);
    return copy;
}

void
cim_value_free(CimValue *self)
{
    if (self == NULL)
        return;
    if (self->is_null)
        ;
    else if (self->is_array)
        g_ptr_array_unref(self->v.items);
    else if (value_kind(self->type) == KIND_STRING)
        g_free(self->v.string);
    else if (value_kind(self->type) == KIND_PATH)
        cim_path_free(self->v.path);
    else if (value_kind(self->type) == KIND_INSTANCE)
        cim_instance_free(self->v.instance);
    g_free(self);
}

static bool
instances_equal(const CimInstance *a, const CimInstance *b)
{
    const CimClass *cim_class = cim_instance_class(a);

    if (cim_instance_class(b) != cim_class)
        return false;
    for (unsigned i = 0; i < cim_class->n_properties; i++) {
        const char *name = cim_class->properties[i].name;
        if (!cim_value_equal(cim_instance_get(a, name), cim_instance_get(b, name)))
            return false;
    }
    return true;
}

static bool
texts_equal(const char *a, const char *b)
{
    g_autofree char *folded_a = g_utf8_casefold(a, -1), *folded_b = g_utf8_casefold(b, -1);

    return strcmp(folded_a, folded_b) == 0;
}

static bool
paths_equal(const CimPath *a, const CimPath *b)
{
    if (g_ascii_strcasecmp(a->class_name, b->class_name) != 0 || a->names->len != b->names->len)
        return false;
    if (a->cim_namespace != NULL && b->cim_namespace != NULL &&
        !cim_namespace_equal(a->cim_namespace, b->cim_namespace))
        return false;
    for (unsigned i = 0; i < a->names->len; i++) {
        const CimValue *other = cim_path_key(b, a->names->pdata[i]);
        if (other == NULL || !cim_value_equal(a->values->pdata[i], other))
            return false;
    }
    return true;
}

static bool
arrays_equal(const GPtrArray *a, const GPtrArray *b)
{
    if (a->len != b->len)
        return false;
    for (unsigned i = 0; i < a->len; i++) {
        if (!cim_value_equal(a->pdata[i], b->pdata[i]))
            return false;
    }
    return true;
}

static bool
is_integer(const CimValue *value)
{
    return value_kind(value->type) == KIND_UNSIGNED || value_kind(value->type) == KIND_SIGNED;
}

/* Integers of different width compare by number: a path's text does not tell the width. */
static bool
integers_equal(const CimValue *a, const CimValue *b)
{
    bool a_negative = value_kind(a->type) == KIND_SIGNED && a->v.sint < 0;
    bool b_negative = value_kind(b->type) == KIND_SIGNED && b->v.sint < 0;

    return a_negative == b_negative && a->v.uint == b->v.uint;
}

bool
cim_value_equal(const CimValue *a, const CimValue *b)
{
    if (a->is_null || b->is_null)
        return a->is_null == b->is_null;
    if (a->is_array != b->is_array)
        return false;
    if (a->is_array)
        return arrays_equal(a->v.items, b->v.items);
    if (is_integer(a) && is_integer(b))
        return integers_equal(a, b);
    if (value_kind(a->type) != value_kind(b->type))
        return false;
    switch (value_kind(a->type)) {
    case KIND_BOOLEAN:
        return a->v.boolean == b->v.boolean;
    case KIND_REAL:
        return a->v.real == b->v.real;
    case KIND_STRING:
        return texts_equal(a->v.string, b->v.string);
    case KIND_PATH:
        return paths_equal(a->v.path, b->v.path);
    default:
        return instances_equal(a->v.instance, b->v.instance);
    }
}

static char *
real_to_text(double number)
{
    char buffer[G_ASCII_DTOSTR_BUF_SIZE];

    return g_strdup(g_ascii_dtostr(buffer, sizeof buffer, number));
}

char *
cim_value_to_text(const CimValue *self)
{
    g_assert(!self->is_array);
    if (self->is_null)
        return g_strdup("");
    switch (value_kind(self->type)) {
    case KIND_BOOLEAN:
        return g_strdup(self->v.boolean ? "TRUE" : "FALSE");
    case KIND_UNSIGNED:
        return g_strdup_printf("%" G_GUINT64_FORMAT, (guint64) self->v.uint);
    case KIND_SIGNED:
        return g_strdup_printf("%" G_GINT64_FORMAT, (gint64) self->v.sint);
    case KIND_REAL:
        return real_to_text(self->v.real);
    case KIND_STRING:
        return g_strdup(self->v.string);
    case KIND_PATH:
        return cim_path_to_text(self->v.path, NULL);
    default:
        return cim_instance_to_xml(self->v.instance);
    }
}

static bool
parse_boolean(const char *text, CimValue *value)
{
    value->v.boolean = g_ascii_strcasecmp(text, "true") == 0 || strcmp(text, "1") == 0;
    return value->v.boolean || g_ascii_strcasecmp(text, "false") == 0 || strcmp(text, "0") == 0;
}

static unsigned
integer_bits(CimType type)
{
    switch (type) {
    case CIM_UINT8: case CIM_SINT8:
        return 8;
    case CIM_UINT16: case CIM_SINT16: case CIM_CHAR16:
        return 16;
    case CIM_UINT32: case CIM_SINT32:
        return 32;
    default:
        return 64;
    }
}

static const char *
after_hex_prefix(const char *digits, unsigned *ret_base)
{
    bool is_hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');

    *ret_base = is_hex ? 16 : 10;
    return is_hex ? digits + 2 : digits;
}

static bool
parse_integer(const char *text, bool is_signed, CimValue *value)
{
    unsigned bits = integer_bits(value->type), base;
    bool negative = *text == '-';
    const char *digits = after_hex_prefix(*text == '-' || *text == '+' ? text + 1 : text, &base);
    uint64_t number, most = is_signed ? (UINT64_C(1) << (bits - 1)) - 1 : UINT64_MAX >> (64 - bits);
    char *end;

    if (!g_ascii_isxdigit(*digits))
        return false;
    errno = 0;
    number = g_ascii_strtoull(digits, &end, base);
    if (errno != 0 || end == digits || *end != '\0' || (negative && !is_signed && number != 0) ||
        number > most + (negative && is_signed ? 1 : 0))
        return false;
    value->v.uint = negative ? UINT64_C(0) - number : number;
    return true;
}

static bool
parse_real(const char *text, CimValue *value)
{
    char *end;

    value->v.real = g_ascii_strtod(text, &end);
    return end != text && *end == '\0' && isfinite(value->v.real);
}

static bool
parse_number(ValueKind kind, const char *text, CimValue *value)
{
    switch (kind) {
    case KIND_BOOLEAN:
        return parse_boolean(text, value);
    case KIND_REAL:
        return parse_real(text, value);
    default:
        return parse_integer(text, kind == KIND_SIGNED, value);
    }
}

static CimValue *
number_from_text(CimType type, const char *text, GError **error)
{
    g_autofree char *trimmed = g_strstrip(g_strdup(text));
    CimValue *value = value_new(type);

    if (parse_number(value_kind(type), trimmed, value))
        return value;
    g_set_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH, "'%.60s' is no %s", trimmed, cim_type_name(type));
    g_free(value);
    return NULL;
}

CimValue *
cim_value_from_text(CimType type, const char *text, GError **error)
{
    CimValue *value = NULL;
    CimInstance *instance;
    CimPath *path;
    char *datetime;

    switch (type) {
    case CIM_STRING:
        return cim_value_new_string(text);
    case CIM_DATETIME:
        datetime = cim_datetime_from_any(text, error);
        if (datetime != NULL) {
            value = value_new(CIM_DATETIME);
            value->v.string = datetime;
        }
        return value;
    case CIM_REFERENCE:
        path = cim_path_from_text(text, NULL, error);
        return path == NULL ? NULL : cim_value_new_reference(path);
    case CIM_INSTANCE:
        instance = cim_instance_from_text(text, "root/virtualization/v2", error);
        if (instance != NULL) {
            value = value_new(CIM_INSTANCE);
            value->v.instance = instance;
        }
        return value;
    default:
        return number_from_text(type, text, error);
    }
}
