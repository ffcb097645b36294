/* wql: the query language of WMI, read and applied to instances.
 *
 *   query      = select | associators | references
 *   select     = "SELECT" ( "*" | name { "," name } ) "FROM" class [ "WHERE" or ]
 *   or         = and { "OR" and }
 *   and        = not { "AND" not }
 *   not        = "NOT" not | "(" or ")" | comparison
 *   comparison = operand ( "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" ) operand | operand "IS" [ "NOT" ] "NULL"
 *              | operand [ "NOT" ] "LIKE" string | operand "ISA" string
 *   operand    = property | "__CLASS" | "__SUPERCLASS" | "__SERVER" | "__NAMESPACE" | "__PATH" | "__RELPATH" | "__THIS"
 *              | string | number | "TRUE" | "FALSE" | "NULL"
 *   associators = "ASSOCIATORS" "OF" "{" path "}" [ "WHERE" { name "=" class | "KeysOnly" } ]
 *   references  = "REFERENCES" "OF" "{" path "}" [ "WHERE" { name "=" class | "KeysOnly" } ]
 *
 * Words and texts compare without case. Logic has three values, as in SQL: what compares with null is neither true nor
 * false, and only rows that are true are answered. The list of names after SELECT is checked but instances come whole.
 * Errors: CIM_ERROR_INVALID_QUERY with the position, CIM_ERROR_INVALID_CLASS.
 */
#pragma once

#include "cim/cim.h"

typedef enum { WQL_SELECT, WQL_ASSOCIATORS, WQL_REFERENCES } WqlKind;
typedef struct WqlNode WqlNode;

typedef struct {
    WqlKind         kind;
    const CimClass *cim_class;   /* SELECT: FROM */
    WqlNode        *where;       /* SELECT; (nullable) */
    CimPath        *object;      /* ASSOCIATORS, REFERENCES */
    char           *assoc_class, *result_class, *role, *result_role; /* each nullable */
} WqlQuery;

WqlQuery *wql_parse(const char *text, const char *cim_namespace, GError **error);
void      wql_free(WqlQuery *self);

/* @host: what __SERVER means */
bool      wql_matches(const WqlQuery *self, const CimInstance *instance, const char *host);

/* The text that @property must be equal to in every row, or NULL when the query does not pin it. */
const char *wql_pinned_text(const WqlQuery *self, const char *property);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(WqlQuery, wql_free)
