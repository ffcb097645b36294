/* class-table: what the generator makes of schema/; see cim.h for the rows. */
#pragma once

#include "cim/cim.h"

typedef struct {
    const char *name;
    const CimClass *const *classes; /* sorted by name without case; NULL at the end */
    unsigned n_classes;
} CimNamespaceTable;

extern const CimNamespaceTable cim_namespace_tables[]; /* a NULL name ends it */
