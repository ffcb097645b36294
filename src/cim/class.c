#include "cim/class-table.h"

G_DEFINE_QUARK(cim-error-quark, cim_error)

const char *
cim_type_name(CimType type)
{
    static const char *const names[] = {
        [CIM_BOOLEAN] = "boolean", [CIM_UINT8] = "uint8", [CIM_SINT8] = "sint8", [CIM_UINT16] = "uint16",
        [CIM_SINT16] = "sint16", [CIM_UINT32] = "uint32", [CIM_SINT32] = "sint32", [CIM_UINT64] = "uint64",
        [CIM_SINT64] = "sint64", [CIM_REAL32] = "real32", [CIM_REAL64] = "real64", [CIM_CHAR16] = "char16",
        [CIM_STRING] = "string", [CIM_DATETIME] = "datetime", [CIM_REFERENCE] = "reference", [CIM_INSTANCE] = "instance",
    };

    return names[type];
}

bool
cim_namespace_equal(const char *a, const char *b)
{
    while (*a == '/' || *a == '\\')
        a++;
    while (*b == '/' || *b == '\\')
        b++;
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        char x = *a == '\\' ? '/' : g_ascii_tolower(*a);
        char y = *b == '\\' ? '/' : g_ascii_tolower(*b);
        if (x != y)
            return false;
    }
    return *a == *b;
}

static const CimNamespaceTable *
find_namespace(const char *name)
{
    for (const CimNamespaceTable *table = cim_namespace_tables; table->name != NULL; table++) {
        if (cim_namespace_equal(table->name, name))
            return table;
    }
    return NULL;
}

const CimClass *const *
cim_classes(const char *cim_namespace)
{
    const CimNamespaceTable *table = find_namespace(cim_namespace);

    return table == NULL ? NULL : table->classes;
}

const CimClass *
cim_class_find(const char *cim_namespace, const char *name)
{
    const CimNamespaceTable *table = find_namespace(cim_namespace);
    unsigned low = 0, high = table == NULL ? 0 : table->n_classes;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = g_ascii_strcasecmp(name, table->classes[middle]->name);
        if (order == 0)
            return table->classes[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool
cim_class_is_a(const CimClass *self, const CimClass *ancestor)
{
    for (; self != NULL; self = self->superclass) {
        if (self == ancestor)
            return true;
    }
    return false;
}

const CimProperty *
cim_class_property(const CimClass *self, const char *name)
{
    unsigned low = 0, high = self->n_properties;

    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = g_ascii_strcasecmp(name, self->properties[middle].name);
        if (order == 0)
            return &self->properties[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const CimMethod *
cim_class_method(const CimClass *self, const char *name)
{
    for (unsigned i = 0; i < self->n_methods; i++) {
        if (g_ascii_strcasecmp(self->methods[i].name, name) == 0)
            return &self->methods[i];
    }
    return NULL;
}
