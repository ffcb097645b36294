#include "cim/cim.h"

struct CimInstance {
    const CimClass *cim_class;
    CimValue **values; /* one per property of the class, never NULL */
    bool *is_set;
};

CimInstance *
cim_instance_new(const CimClass *cim_class)
{
    CimInstance *self = g_new0(CimInstance, 1);

    self->cim_class = cim_class;
    self->values = g_new0(CimValue *, cim_class->n_properties);
    self->is_set = g_new0(bool, cim_class->n_properties);
    for (unsigned i = 0; i < cim_class->n_properties; i++) {
        const CimProperty *property = &cim_class->properties[i];
        self->values[i] = cim_value_new_null(property->type, (property->flags & CIM_ARRAY) != 0);
    }
    return self;
}

CimInstance *
cim_instance_copy(const CimInstance *self)
{
    CimInstance *copy = cim_instance_new(self->cim_class);

    for (unsigned i = 0; i < self->cim_class->n_properties; i++) {
        cim_value_free(copy->values[i]);
        copy->values[i] = cim_value_copy(self->values[i]);
        copy->is_set[i] = self->is_set[i];
    }
    return copy;
}

void
cim_instance_free(CimInstance *self)
{
    if (self == NULL)
        return;
    for (unsigned i = 0; i < self->cim_class->n_properties; i++)
        cim_value_free(self->values[i]);
    g_free(self->values);
    g_free(self->is_set);
    g_free(self);
}

const CimClass *
cim_instance_class(const CimInstance *self)
{
    return self->cim_class;
}

static unsigned
property_index(const CimInstance *self, const char *name)
{
    const CimProperty *property = cim_class_property(self->cim_class, name);

    if (property == NULL)
        g_error("class %s has no property '%s'", self->cim_class->name, name);
    return (unsigned) (property - self->cim_class->properties);
}

void
cim_instance_set(CimInstance *self, const char *property, CimValue *value)
{
    unsigned i = property_index(self, property);

    g_assert(value->type == self->values[i]->type && value->is_array == self->values[i]->is_array);
    cim_value_free(self->values[i]);
    self->values[i] = value;
    self->is_set[i] = true;
}

const CimValue *
cim_instance_get(const CimInstance *self, const char *property)
{
    return self->values[property_index(self, property)];
}

bool
cim_instance_is_set(const CimInstance *self, const char *property)
{
    return self->is_set[property_index(self, property)];
}

CimPath *
cim_instance_path(const CimInstance *self)
{
    CimPath *path = cim_path_new(self->cim_class->cim_namespace, self->cim_class->name);

    for (unsigned i = 0; i < self->cim_class->n_properties; i++) {
        if ((self->cim_class->properties[i].flags & CIM_KEY) != 0)
            cim_path_add(path, self->cim_class->properties[i].name, cim_value_copy(self->values[i]));
    }
    return path;
}
