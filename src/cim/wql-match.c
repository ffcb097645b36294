#include "cim/wql-tree.h"

#include <string.h>

typedef enum { TRUTH_FALSE, TRUTH_TRUE, TRUTH_UNKNOWN } Truth;

typedef struct {
    const CimInstance *instance;
    const char        *host;
} Row;

/* ---- values ---- */

static char *
system_text(const Row *row, WqlSystem system)
{
    const CimClass *cim_class = cim_instance_class(row->instance);
    CimPath *path;
    char *text;

    switch (system) {
    case SYSTEM_CLASS: case SYSTEM_THIS:
        return g_strdup(cim_class->name);
    case SYSTEM_SUPERCLASS:
        return cim_class->superclass == NULL ? NULL : g_strdup(cim_class->superclass->name);
    case SYSTEM_SERVER:
        return g_strdup(row->host);
    case SYSTEM_NAMESPACE:
        return g_strdelimit(g_strdup(cim_class->cim_namespace), "/", '\\');
    default:
        path = cim_instance_path(row->instance);
        if (system == SYSTEM_RELPATH)
            g_clear_pointer(&path->cim_namespace, g_free);
        text = cim_path_to_text(path, system == SYSTEM_RELPATH ? NULL : row->host);
        cim_path_free(path);
        return text;
    }
}

/* (transfer none) unless made here: then it is in @ret_made. */
static const CimValue *
operand_value(const Row *row, const WqlOperand *operand, CimValue **ret_made)
{
    g_autofree char *text = NULL;

    *ret_made = NULL;
    if (operand->kind == OPERAND_CONSTANT)
        return operand->constant;
    if (operand->kind == OPERAND_PROPERTY)
        return cim_instance_get(row->instance, operand->property->name);
    text = system_text(row, operand->system);
    *ret_made = cim_value_new_string(text);
    return *ret_made;
}

static bool
is_integer(const CimValue *value)
{
    return (value->type >= CIM_UINT8 && value->type <= CIM_SINT64) || value->type == CIM_CHAR16;
}

static bool
is_number(const CimValue *value)
{
    return value->type >= CIM_UINT8 && value->type <= CIM_CHAR16;
}

static bool
is_signed(const CimValue *value)
{
    return value->type == CIM_SINT8 || value->type == CIM_SINT16 || value->type == CIM_SINT32 || value->type == CIM_SINT64;
}

static double
as_real(const CimValue *value)
{
    if (!is_integer(value))
        return value->v.real;
    return is_signed(value) ? (double) value->v.sint : (double) value->v.uint;
}

static int
compare_integers(const CimValue *a, const CimValue *b)
{
    bool a_negative = is_signed(a) && a->v.sint < 0, b_negative = is_signed(b) && b->v.sint < 0;

    if (a_negative != b_negative)
        return a_negative ? -1 : 1;
    return a->v.uint == b->v.uint ? 0 : a->v.uint < b->v.uint ? -1 : 1; /* of equal sign: the bits keep the order */
}

static int
compare_texts(const char *a, const char *b)
{
    g_autofree char *folded_a = g_utf8_casefold(a, -1), *folded_b = g_utf8_casefold(b, -1);

    return strcmp(folded_a, folded_b);
}

/* false: values of these types have no order */
static bool
compare(const CimValue *a, const CimValue *b, int *ret)
{
    if (is_number(a) && is_number(b)) {
        double x = as_real(a), y = as_real(b);
        *ret = is_integer(a) && is_integer(b) ? compare_integers(a, b) : (x > y) - (x < y);
        return true;
    }
    if (a->type != b->type)
        return false;
    if (a->type == CIM_DATETIME) {
        int64_t x = cim_datetime_to_usec(a->v.string), y = cim_datetime_to_usec(b->v.string);
        *ret = (x > y) - (x < y);
    } else if (a->type == CIM_STRING)
        *ret = compare_texts(a->v.string, b->v.string);
    else
        *ret = cim_value_equal(a, b) ? 0 : 1;
    return true;
}

static bool
holds(WqlNodeKind kind, int order)
{
    switch (kind) {
    case NODE_EQUAL:
        return order == 0;
    case NODE_UNEQUAL:
        return order != 0;
    case NODE_LESS:
        return order < 0;
    case NODE_LESS_EQUAL:
        return order <= 0;
    case NODE_GREATER:
        return order > 0;
    default:
        return order >= 0;
    }
}

static Truth
compare_operands(const Row *row, const WqlNode *node)
{
    CimValue *made_a, *made_b;
    const CimValue *a = operand_value(row, &node->a, &made_a), *b = operand_value(row, &node->b, &made_b);
    Truth truth = TRUTH_UNKNOWN;
    int order;

    if (!a->is_null && !b->is_null && compare(a, b, &order))
        truth = holds(node->kind, order) ? TRUTH_TRUE : TRUTH_FALSE;
    cim_value_free(made_a);
    cim_value_free(made_b);
    return truth;
}

/* ---- LIKE: % any text, _ one character, [a-f0] one of a set, [^a] one not of a set ---- */

/* Whether @c is in the set that begins at @pattern; @ret_end: behind its ']'. A '[' without ']' stands for itself. */
static bool
in_set(const char *pattern, gunichar c, const char **ret_end)
{
    bool invert = pattern[1] == '^', found = false;
    const char *at = pattern + (invert ? 2 : 1);
    const char *end = strchr(*at == ']' ? at + 1 : at, ']');

    if (*at == '\0' || end == NULL) {
        *ret_end = pattern + 1;
        return c == '[';
    }
    while (at < end) {
        gunichar low = g_utf8_get_char(at), high = low;
        at = g_utf8_next_char(at);
        if (*at == '-' && at + 1 < end) {
            high = g_utf8_get_char(at + 1);
            at = g_utf8_next_char(at + 1);
        }
        found = found || (c >= low && c <= high);
    }
    *ret_end = end + 1;
    return found != invert;
}

/* One character of @text against one element of @pattern that is not '%'. */
static bool
match_one(const char *pattern, gunichar c, const char **ret_pattern)
{
    if (*pattern == '[')
        return in_set(pattern, c, ret_pattern);
    if (*pattern == '\0')
        return false;
    *ret_pattern = g_utf8_next_char(pattern);
    return *pattern == '_' || g_utf8_get_char(pattern) == c;
}

/* Only the last '%' ever needs to be tried again, so the time is at most the product of the lengths. */
static bool
like(const char *text, const char *pattern)
{
    const char *retry_pattern = NULL, *retry_text = NULL, *after;

    while (*text != '\0') {
        if (*pattern == '%') {
            retry_pattern = ++pattern;
            retry_text = text;
        } else if (match_one(pattern, g_utf8_get_char(text), &after)) {
            text = g_utf8_next_char(text);
            pattern = after;
        } else if (retry_pattern != NULL) {
            retry_text = g_utf8_next_char(retry_text);
            text = retry_text;
            pattern = retry_pattern;
        } else
            return false;
    }
    return pattern[strspn(pattern, "%")] == '\0';
}

static Truth
match_like(const Row *row, const WqlNode *node)
{
    CimValue *made;
    const CimValue *value = operand_value(row, &node->a, &made);
    Truth truth = TRUTH_UNKNOWN;

    if (!value->is_null) {
        g_autofree char *text = cim_value_to_text(value);
        g_autofree char *folded = g_utf8_casefold(text, -1);
        truth = like(folded, node->pattern) ? TRUTH_TRUE : TRUTH_FALSE;
    }
    cim_value_free(made);
    return truth;
}

/* ---- conditions ---- */

static Truth
match_null(const Row *row, const WqlNode *node)
{
    CimValue *made;
    bool is_null = operand_value(row, &node->a, &made)->is_null;

    cim_value_free(made);
    return is_null ? TRUTH_TRUE : TRUTH_FALSE;
}

/* __THIS ISA 'C' looks at the row; a reference at the class of what it names. */
static Truth
match_isa(const Row *row, const WqlNode *node)
{
    const CimClass *cim_class = NULL;

    if (node->a.kind == OPERAND_SYSTEM)
        cim_class = cim_instance_class(row->instance);
    else if (node->a.kind == OPERAND_PROPERTY && node->a.property->type == CIM_REFERENCE) {
        const CimValue *value = cim_instance_get(row->instance, node->a.property->name);
        if (!value->is_null)
            cim_class = cim_class_find(cim_instance_class(row->instance)->cim_namespace, value->v.path->class_name);
    }
    return cim_class != NULL && cim_class_is_a(cim_class, node->isa) ? TRUTH_TRUE : TRUTH_FALSE;
}

static Truth
match(const Row *row, const WqlNode *node)
{
    Truth left, right;

    switch (node->kind) {
    case NODE_NOT:
        left = match(row, node->left);
        return left == TRUTH_UNKNOWN ? left : left == TRUTH_TRUE ? TRUTH_FALSE : TRUTH_TRUE;
    case NODE_AND: case NODE_OR: {
        Truth deciding = node->kind == NODE_AND ? TRUTH_FALSE : TRUTH_TRUE;
        left = match(row, node->left);
        if (left == deciding)
            return left;
        right = match(row, node->right);
        return right == deciding || left != TRUTH_UNKNOWN ? right : left;
    }
    case NODE_IS_NULL:
        return match_null(row, node);
    case NODE_LIKE:
        return match_like(row, node);
    case NODE_ISA:
        return match_isa(row, node);
    default:
        return compare_operands(row, node);
    }
}

bool
wql_matches(const WqlQuery *self, const CimInstance *instance, const char *host)
{
    Row row = { instance, host };

    return self->where == NULL || match(&row, self->where) == TRUTH_TRUE;
}

static const char *
pinned(const WqlNode *node, const char *property)
{
    const char *found;

    if (node->kind == NODE_AND) {
        found = pinned(node->left, property);
        return found != NULL ? found : pinned(node->right, property);
    }
    if (node->kind != NODE_EQUAL || node->a.kind != OPERAND_PROPERTY || node->b.kind != OPERAND_CONSTANT ||
        node->b.constant->is_null || node->b.constant->type != CIM_STRING ||
        g_ascii_strcasecmp(node->a.property->name, property) != 0)
        return NULL;
    return node->b.constant->v.string;
}

const char *
wql_pinned_text(const WqlQuery *self, const char *property)
{
    return self->where == NULL ? NULL : pinned(self->where, property);
}
