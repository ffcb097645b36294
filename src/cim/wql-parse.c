#include "cim/wql-tree.h"

#include <stdarg.h>
#include <string.h>

#define MAX_BYTES 65536
#define MAX_NESTING 64

typedef enum { TOKEN_END, TOKEN_WORD, TOKEN_STRING, TOKEN_NUMBER, TOKEN_MARK, TOKEN_BAD } TokenKind;

typedef struct {
    const char *text, *at;  /* @at: behind the present token */
    const char *cim_namespace;
    TokenKind   kind;
    char       *value;      /* of the present token */
    int         position;   /* of the present token, from 1 */
    int         nesting;
    GError    **error;
} Parser;

/* ---- tokens ---- */

static char *
scan_string(Parser *in)
{
    char quote = *in->at;
    GString *out = g_string_new(NULL);

    for (in->at++; *in->at != '\0'; in->at++) {
        bool escapes = *in->at == '\\' && (in->at[1] == '\\' || in->at[1] == '"' || in->at[1] == '\'');
        if (*in->at == quote && in->at[1] != quote)
            break;
        if (*in->at == quote || escapes)
            in->at++;
        g_string_append_c(out, *in->at);
    }
    in->kind = *in->at == '\0' ? TOKEN_BAD : TOKEN_STRING;
    if (*in->at != '\0')
        in->at++;
    return g_string_free(out, FALSE);
}

static char *
scan_while(Parser *in, const char *others, TokenKind kind)
{
    const char *start = in->at++;

    while (g_ascii_isalnum(*in->at) || (*in->at != '\0' && strchr(others, *in->at) != NULL))
        in->at++;
    in->kind = kind;
    return g_strndup(start, (size_t) (in->at - start));
}

static char *
scan_mark(Parser *in)
{
    static const char *const marks[] = { "<>", "!=", "<=", ">=", "<", ">", "=", "(", ")", ",", "*", "{", ";" };

    for (unsigned i = 0; i < G_N_ELEMENTS(marks); i++) {
        if (g_str_has_prefix(in->at, marks[i])) {
            in->kind = TOKEN_MARK;
            in->at += strlen(marks[i]);
            return g_strdup(marks[i]);
        }
    }
    in->kind = TOKEN_BAD;
    in->at += g_utf8_skip[(unsigned char) *in->at];
    return g_strdup("");
}

static void
next_token(Parser *in)
{
    while (g_ascii_isspace(*in->at))
        in->at++;
    in->position = (int) (in->at - in->text) + 1;
    g_free(in->value);
    if (*in->at == '\0') {
        in->kind = TOKEN_END;
        in->value = g_strdup("the end");
    } else if (*in->at == '"' || *in->at == '\'')
        in->value = scan_string(in);
    else if (g_ascii_isalpha(*in->at) || *in->at == '_')
        in->value = scan_while(in, "_", TOKEN_WORD);
    else if (g_ascii_isdigit(*in->at) || *in->at == '-' || *in->at == '+' || *in->at == '.')
        in->value = scan_while(in, ".+-", TOKEN_NUMBER);
    else
        in->value = scan_mark(in);
}

static bool G_GNUC_PRINTF(3, 4)
fail_at(Parser *in, int position, const char *format, ...)
{
    va_list arguments;
    g_autofree char *message = NULL;

    if (*in->error != NULL)
        return false;
    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(in->error, CIM_ERROR, CIM_ERROR_INVALID_QUERY, "WQL: %s at position %d", message, position);
    return false;
}

static bool
expected(Parser *in, const char *what)
{
    if (in->kind == TOKEN_BAD)
        return fail_at(in, in->position, *in->value == '\0' ? "unknown character" : "text without its closing quote");
    return fail_at(in, in->position, "%s expected, not '%.60s',", what, in->value);
}

static bool
at_word(const Parser *in, const char *word)
{
    return in->kind == TOKEN_WORD && g_ascii_strcasecmp(in->value, word) == 0;
}

static bool
accept_word(Parser *in, const char *word)
{
    if (!at_word(in, word))
        return false;
    next_token(in);
    return true;
}

static bool
expect_word(Parser *in, const char *word)
{
    return accept_word(in, word) || expected(in, word);
}

static bool
accept_mark(Parser *in, const char *mark)
{
    if (in->kind != TOKEN_MARK || strcmp(in->value, mark) != 0)
        return false;
    next_token(in);
    return true;
}

static char *
take_word(Parser *in, const char *what)
{
    char *word;

    if (in->kind != TOKEN_WORD) {
        expected(in, what);
        return NULL;
    }
    word = g_strdup(in->value);
    next_token(in);
    return word;
}

/* ---- operands ---- */

static bool
find_system(const char *word, WqlSystem *ret)
{
    static const char *const names[] = {
        [SYSTEM_CLASS] = "__CLASS", [SYSTEM_SUPERCLASS] = "__SUPERCLASS", [SYSTEM_SERVER] = "__SERVER",
        [SYSTEM_NAMESPACE] = "__NAMESPACE", [SYSTEM_PATH] = "__PATH", [SYSTEM_RELPATH] = "__RELPATH", [SYSTEM_THIS] = "__THIS",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_ascii_strcasecmp(word, names[i]) == 0) {
            *ret = (WqlSystem) i;
            return true;
        }
    }
    return false;
}

static bool
take_number(Parser *in, WqlOperand *operand)
{
    static const CimType types[] = { CIM_SINT64, CIM_UINT64, CIM_REAL64 };

    for (unsigned i = 0; i < G_N_ELEMENTS(types) && operand->constant == NULL; i++)
        operand->constant = cim_value_from_text(types[i], in->value, NULL);
    return operand->constant != NULL || expected(in, "a number");
}

static bool
take_name(Parser *in, const CimClass *cim_class, WqlOperand *operand)
{
    if (at_word(in, "TRUE") || at_word(in, "FALSE"))
        operand->constant = cim_value_new_boolean(at_word(in, "TRUE"));
    else if (at_word(in, "NULL"))
        operand->constant = cim_value_new_null(CIM_STRING, false);
    else if (find_system(in->value, &operand->system))
        operand->kind = OPERAND_SYSTEM;
    else {
        operand->kind = OPERAND_PROPERTY;
        operand->property = cim_class_property(cim_class, in->value);
        if (operand->property == NULL)
            return fail_at(in, in->position, "class %s has no property '%.60s',", cim_class->name, in->value);
        if ((operand->property->flags & CIM_ARRAY) != 0)
            return fail_at(in, in->position, "property %s is an array, which cannot be compared,",
                           operand->property->name);
    }
    return true;
}

static bool
take_operand(Parser *in, const CimClass *cim_class, WqlOperand *operand)
{
    operand->position = in->position;
    if (in->kind == TOKEN_STRING)
        operand->constant = cim_value_new_string(in->value);
    else if (in->kind == TOKEN_NUMBER) {
        if (!take_number(in, operand))
            return false;
    } else if (in->kind != TOKEN_WORD)
        return expected(in, "a property or a constant");
    else if (!take_name(in, cim_class, operand))
        return false;
    next_token(in);
    return true;
}

static bool
is_number_type(CimType type)
{
    return type >= CIM_UINT8 && type <= CIM_CHAR16;
}

/* A constant that clients wrote as a text is read as what the property is. */
static bool
type_constant(Parser *in, WqlOperand *constant, const WqlOperand *other)
{
    CimType type = other->kind == OPERAND_PROPERTY ? other->property->type : CIM_STRING;
    CimType wanted = is_number_type(type) ? CIM_REAL64 : type;
    g_autofree char *text = NULL;
    CimValue *typed;

    if (constant->kind != OPERAND_CONSTANT || constant->constant->is_null || other->kind == OPERAND_CONSTANT)
        return true;
    if (is_number_type(type) && is_number_type(constant->constant->type))
        return true;
    text = cim_value_to_text(constant->constant);
    if (is_number_type(type) && (typed = cim_value_from_text(CIM_SINT64, text, NULL)) != NULL)
        ;
    else if (wanted == CIM_REFERENCE) {
        CimPath *path = cim_path_from_text(text, in->cim_namespace, NULL);
        typed = path == NULL ? NULL : cim_value_new_reference(path);
    } else
        typed = cim_value_from_text(wanted, text, NULL);
    if (typed == NULL)
        return fail_at(in, constant->position, "'%.60s' is no %s", text, cim_type_name(type));
    cim_value_free(constant->constant);
    constant->constant = typed;
    return true;
}

/* ---- conditions ---- */

static WqlNode *take_or(Parser *in, const CimClass *cim_class);

static bool
finish_is_null(Parser *in, WqlNode *node, bool *ret_negate)
{
    next_token(in);
    *ret_negate = accept_word(in, "NOT");
    node->kind = NODE_IS_NULL;
    return expect_word(in, "NULL");
}

static bool
finish_like(Parser *in, WqlNode *node)
{
    node->kind = NODE_LIKE;
    if (in->kind != TOKEN_STRING)
        return expected(in, "a pattern in quotes");
    node->pattern = g_utf8_casefold(in->value, -1);
    next_token(in);
    return true;
}

static bool
finish_isa(Parser *in, WqlNode *node)
{
    next_token(in);
    node->kind = NODE_ISA;
    if (in->kind != TOKEN_STRING && in->kind != TOKEN_WORD)
        return expected(in, "the name of a class");
    node->isa = cim_class_find(in->cim_namespace, in->value);
    if (node->isa == NULL)
        return fail_at(in, in->position, "class '%.60s' is not known", in->value);
    next_token(in);
    return true;
}

static bool
take_operator(Parser *in, WqlNode *node)
{
    static const struct { const char *mark; WqlNodeKind kind; } operators[] = {
        { "=", NODE_EQUAL }, { "<>", NODE_UNEQUAL }, { "!=", NODE_UNEQUAL }, { "<", NODE_LESS },
        { "<=", NODE_LESS_EQUAL }, { ">", NODE_GREATER }, { ">=", NODE_GREATER_EQUAL },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(operators); i++) {
        if (accept_mark(in, operators[i].mark)) {
            node->kind = operators[i].kind;
            return true;
        }
    }
    return expected(in, "an operator");
}

static bool
is_null_constant(const WqlOperand *operand)
{
    return operand->kind == OPERAND_CONSTANT && operand->constant->is_null;
}

static bool
finish_compare(Parser *in, const CimClass *cim_class, WqlNode *node, bool *ret_negate)
{
    if (!take_operator(in, node) || !take_operand(in, cim_class, &node->b) || !type_constant(in, &node->a, &node->b) ||
        !type_constant(in, &node->b, &node->a))
        return false;
    if (is_null_constant(&node->b) && (node->kind == NODE_EQUAL || node->kind == NODE_UNEQUAL)) {
        *ret_negate = node->kind == NODE_UNEQUAL;
        node->kind = NODE_IS_NULL;
    }
    return true;
}

static WqlNode *
negated(WqlNode *node)
{
    WqlNode *not = g_new0(WqlNode, 1);

    not->kind = NODE_NOT;
    not->left = node;
    return not;
}

static WqlNode *
take_comparison(Parser *in, const CimClass *cim_class)
{
    WqlNode *node = g_new0(WqlNode, 1);
    bool negate = false, ok;

    node->kind = NODE_IS_NULL;
    ok = take_operand(in, cim_class, &node->a);
    if (!ok)
        ;
    else if (at_word(in, "IS"))
        ok = finish_is_null(in, node, &negate);
    else if (at_word(in, "ISA"))
        ok = finish_isa(in, node);
    else if (at_word(in, "LIKE") || at_word(in, "NOT")) {
        negate = accept_word(in, "NOT");
        ok = expect_word(in, "LIKE") && finish_like(in, node);
    } else
        ok = finish_compare(in, cim_class, node, &negate);
    if (!ok) {
        wql_node_free(node);
        return NULL;
    }
    return negate ? negated(node) : node;
}

static WqlNode *
take_nested(Parser *in, const CimClass *cim_class)
{
    WqlNode *node = take_or(in, cim_class);

    if (node != NULL && !accept_mark(in, ")")) {
        expected(in, "')'");
        g_clear_pointer(&node, wql_node_free);
    }
    return node;
}

static WqlNode *
take_not(Parser *in, const CimClass *cim_class)
{
    WqlNode *node;

    if (++in->nesting > MAX_NESTING) {
        fail_at(in, in->position, "conditions are nested too deep");
        return NULL;
    }
    if (accept_word(in, "NOT")) {
        node = take_not(in, cim_class);
        node = node == NULL ? NULL : negated(node);
    } else if (accept_mark(in, "("))
        node = take_nested(in, cim_class);
    else
        node = take_comparison(in, cim_class);
    in->nesting--;
    return node;
}

/* operand { word operand }, from the left */
static WqlNode *
take_chain(Parser *in, const CimClass *cim_class, const char *word, WqlNodeKind kind,
           WqlNode *(*take)(Parser *, const CimClass *))
{
    WqlNode *left = take(in, cim_class);

    while (left != NULL && accept_word(in, word)) {
        WqlNode *node = g_new0(WqlNode, 1);
        node->kind = kind;
        node->left = left;
        node->right = take(in, cim_class);
        left = node;
        if (node->right == NULL)
            g_clear_pointer(&left, wql_node_free);
    }
    return left;
}

static WqlNode *
take_and(Parser *in, const CimClass *cim_class)
{
    return take_chain(in, cim_class, "AND", NODE_AND, take_not);
}

static WqlNode *
take_or(Parser *in, const CimClass *cim_class)
{
    return take_chain(in, cim_class, "OR", NODE_OR, take_and);
}

/* ---- queries ---- */

typedef struct { char *name; int position; } SelectedName;

static void
selected_name_clear(void *name)
{
    g_free(((SelectedName *) name)->name);
}

static bool
take_selected(Parser *in, GArray *names)
{
    if (accept_mark(in, "*"))
        return true;
    do {
        SelectedName selected = { NULL, in->position };
        selected.name = take_word(in, "'*' or the name of a property");
        if (selected.name == NULL)
            return false;
        g_array_append_val(names, selected);
    } while (accept_mark(in, ","));
    return true;
}

static bool
take_class(Parser *in, WqlQuery *query)
{
    int position = in->position;
    g_autofree char *name = take_word(in, "the name of a class");

    if (name == NULL)
        return false;
    query->cim_class = cim_class_find(in->cim_namespace, name);
    if (query->cim_class != NULL)
        return true;
    g_set_error(in->error, CIM_ERROR, CIM_ERROR_INVALID_CLASS, "WQL: class '%.80s' at position %d is not known in %s",
                name, position,
                in->cim_namespace);
    return false;
}

static bool
check_selected(Parser *in, const CimClass *cim_class, const GArray *names)
{
    for (unsigned i = 0; i < names->len; i++) {
        const SelectedName *selected = &g_array_index(names, SelectedName, i);
        WqlSystem ignored;
        if (cim_class_property(cim_class, selected->name) == NULL && !find_system(selected->name, &ignored))
            return fail_at(in, selected->position, "class %s has no property '%.60s',", cim_class->name,
                           selected->name);
    }
    return true;
}

static bool
take_select(Parser *in, WqlQuery *query)
{
    g_autoptr(GArray) names = g_array_new(FALSE, TRUE, sizeof(SelectedName));

    g_array_set_clear_func(names, selected_name_clear);
    query->kind = WQL_SELECT;
    if (!take_selected(in, names) || !expect_word(in, "FROM") || !take_class(in, query) ||
        !check_selected(in, query->cim_class, names))
        return false;
    if (!accept_word(in, "WHERE"))
        return true;
    query->where = take_or(in, query->cim_class);
    return query->where != NULL;
}

/* The present token is "{"; a path may hold "}" inside quotes. */
static bool
take_path(Parser *in, WqlQuery *query)
{
    const char *end = in->at;
    char quote = '\0';
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    if (in->kind != TOKEN_MARK || strcmp(in->value, "{") != 0)
        return expected(in, "'{'");
    for (; *end != '\0' && (quote != '\0' || *end != '}'); end++) {
        if (*end == '\\' && quote != '\0' && end[1] != '\0')
            end++;
        else if (*end == quote)
            quote = '\0';
        else if (quote == '\0' && (*end == '"' || *end == '\''))
            quote = *end;
    }
    if (*end == '\0')
        return fail_at(in, (int) (end - in->text) + 1, "'}' expected");
    text = g_strndup(in->at, (size_t) (end - in->at));
    query->object = cim_path_from_text(text, in->cim_namespace, &error);
    if (query->object == NULL)
        return fail_at(in, in->position + 1, "%s,", error->message);
    in->at = end + 1;
    next_token(in);
    return true;
}

static char **
association_option(WqlQuery *query, const char *name)
{
    if (g_ascii_strcasecmp(name, "ResultClass") == 0)
        return &query->result_class;
    if (g_ascii_strcasecmp(name, "Role") == 0)
        return &query->role;
    if (query->kind == WQL_ASSOCIATORS && g_ascii_strcasecmp(name, "AssocClass") == 0)
        return &query->assoc_class;
    if (query->kind == WQL_ASSOCIATORS && g_ascii_strcasecmp(name, "ResultRole") == 0)
        return &query->result_role;
    return NULL;
}

static bool
take_association_option(Parser *in, WqlQuery *query)
{
    int position = in->position;
    g_autofree char *name = take_word(in, "an option");
    char **option;

    if (name == NULL)
        return false;
    if (g_ascii_strcasecmp(name, "KeysOnly") == 0)
        return true;
    option = association_option(query, name);
    if (option == NULL)
        return fail_at(in, position, "option '%.60s' is not known", name);
    if (*option != NULL)
        return fail_at(in, position, "option '%.60s' is given twice,", name);
    if (!accept_mark(in, "="))
        return expected(in, "'='");
    *option = take_word(in, "a name");
    return *option != NULL;
}

static bool
take_associations(Parser *in, WqlQuery *query, WqlKind kind)
{
    query->kind = kind;
    if (!expect_word(in, "OF") || !take_path(in, query))
        return false;
    if (!accept_word(in, "WHERE"))
        return true;
    do {
        if (!take_association_option(in, query))
            return false;
    } while (in->kind == TOKEN_WORD);
    return true;
}

static bool
take_query(Parser *in, WqlQuery *query)
{
    bool ok;

    next_token(in);
    if (accept_word(in, "SELECT"))
        ok = take_select(in, query);
    else if (accept_word(in, "ASSOCIATORS"))
        ok = take_associations(in, query, WQL_ASSOCIATORS);
    else if (accept_word(in, "REFERENCES"))
        ok = take_associations(in, query, WQL_REFERENCES);
    else
        ok = expected(in, "SELECT, ASSOCIATORS or REFERENCES");
    if (!ok)
        return false;
    accept_mark(in, ";");
    return in->kind == TOKEN_END || expected(in, "the end");
}

WqlQuery *
wql_parse(const char *text, const char *cim_namespace, GError **error)
{
    g_autoptr(GError) own_error = NULL;
    g_autoptr(WqlQuery) query = g_new0(WqlQuery, 1);
    Parser in = { .text = text, .at = text, .cim_namespace = cim_namespace, .error = &own_error };
    bool ok;

    if (strlen(text) > MAX_BYTES || !g_utf8_validate(text, -1, NULL))
        ok = fail_at(&in, MAX_BYTES, "no text of at most %d bytes of UTF-8, which ends", MAX_BYTES);
    else
        ok = take_query(&in, query);
    g_free(in.value);
    if (!ok) {
        g_propagate_error(error, g_steal_pointer(&own_error));
        return NULL;
    }
    return g_steal_pointer(&query);
}

void
wql_node_free(WqlNode *self)
{
    if (self == NULL)
        return;
    wql_node_free(self->left);
    wql_node_free(self->right);
    cim_value_free(self->a.constant);
    cim_value_free(self->b.constant);
    g_free(self->pattern);
    g_free(self);
}

void
wql_free(WqlQuery *self)
{
    if (self == NULL)
        return;
    wql_node_free(self->where);
    cim_path_free(self->object);
    g_free(self->assoc_class);
    g_free(self->result_class);
    g_free(self->role);
    g_free(self->result_role);
    g_free(self);
}
