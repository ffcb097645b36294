/* wql-tree: the condition of a query, between its reader and its evaluation. */
#pragma once

#include "cim/wql.h"

typedef enum { OPERAND_CONSTANT, OPERAND_PROPERTY, OPERAND_SYSTEM } WqlOperandKind;
typedef enum { SYSTEM_CLASS, SYSTEM_SUPERCLASS, SYSTEM_SERVER, SYSTEM_NAMESPACE, SYSTEM_PATH, SYSTEM_RELPATH,
               SYSTEM_THIS } WqlSystem;

typedef struct {
    WqlOperandKind     kind;
    CimValue          *constant; /* OPERAND_CONSTANT; owned; numbers are SINT64, UINT64 or REAL64 */
    const CimProperty *property;
    WqlSystem          system;
    int                position; /* in the query's text, from 1 */
} WqlOperand;

typedef enum {
    NODE_AND, NODE_OR, NODE_NOT, NODE_IS_NULL, NODE_LIKE, NODE_ISA,
    NODE_EQUAL, NODE_UNEQUAL, NODE_LESS, NODE_LESS_EQUAL, NODE_GREATER, NODE_GREATER_EQUAL,
} WqlNodeKind;

struct WqlNode {
    WqlNodeKind     kind;
    WqlNode        *left, *right; /* AND, OR; NOT has left only */
    WqlOperand      a, b;         /* the others */
    char           *pattern;      /* LIKE, case folded */
    const CimClass *isa;          /* ISA */
};

void wql_node_free(WqlNode *self);
