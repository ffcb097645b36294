#include "cim/association.h"
#include "cim/embedded.h"
#include "cim/method.h"
#include "cim/provider.h"
#include "cim/wql.h"



struct CimBroker {
    ReplicationService *service;
};

CimBroker *
cim_broker_new(ReplicationService *service)
{
    CimBroker *self = g_new0(CimBroker, 1);

    self->service = service;
    return self;
}

void
cim_broker_free(CimBroker *self)
{
    g_free(self);
}

/* ---- checks ---- */

static bool
check_reader(const CimCaller *caller, GError **error)
{
    if (caller->role >= CIM_ROLE_READER)
        return true;
    g_set_error(error, CIM_ERROR, CIM_ERROR_ACCESS_DENIED,
                "User '%s' has no role here; ask an administrator of this host for one",
                caller->user);
    return false;
}

static const CimClass *
find_class(const char *cim_namespace, const char *class_name, GError **error)
{
    const CimClass *cim_class = cim_class_find(cim_namespace, class_name);

    if (cim_class == NULL && cim_classes(cim_namespace) == NULL)
        g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_NAMESPACE,
                    "Namespace '%.80s' is not served; root/virtualization/v2 is",
                    cim_namespace);
    else if (cim_class == NULL)
        g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_CLASS, "Class '%.80s' is not known in %s", class_name,
                    cim_namespace);
    return cim_class;
}

/* What replication/ could not read, as a CIM error. */
static bool
propagate(GError *from, GError **error)
{
    CimError code = CIM_ERROR_FAILED;

    if (from->domain == CIM_ERROR) {
        g_propagate_error(error, from);
        return false;
    }
    if (g_error_matches(from, REPLICATION_ERROR, REPLICATION_ERROR_ACCESS_DENIED))
        code = CIM_ERROR_ACCESS_DENIED;
    g_set_error_literal(error, CIM_ERROR, (int) code, from->message);
    g_error_free(from);
    return false;
}

/* ---- by class ---- */

typedef struct {
    ReplicationService *service;
    const WqlQuery     *query;     /* (nullable) */
    GPtrArray          *instances;
} ClassListing;

static bool
list_one(const Provider *provider, const CimClass *cim_class, void *data, GError **error)
{
    ClassListing *listing = data;
    const char *key = listing->query == NULL ? NULL : wql_pinned_text(listing->query, provider->key);

    return provider_collect(provider, cim_class, listing->service, key, listing->instances, error);
}

static bool
list_class(CimBroker *self, const CimClass *cim_class, bool exact, const WqlQuery *query, GPtrArray *instances,
           GError **error)
{
    ClassListing listing = { self->service, query, instances };
    GError *own_error = NULL;

    if (provider_foreach(cim_class, exact, list_one, &listing, &own_error) &&
        association_enumerate(self->service, cim_class, exact, instances, &own_error))
        return true;
    return propagate(own_error, error);
}

bool
cim_broker_enumerate(CimBroker *self, const CimCaller *caller, const char *cim_namespace, const char *class_name,
                     bool exact, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) instances = provider_instances_new();
    const CimClass *cim_class;

    if (!check_reader(caller, error))
        return false;
    cim_class = find_class(cim_namespace, class_name, error);
    if (cim_class == NULL || !list_class(self, cim_class, exact, NULL, instances, error))
        return false;
    *ret = g_steal_pointer(&instances);
    return true;
}

/* ---- one instance ---- */

static bool find_instance(CimBroker *self, const CimPath *path, CimInstance **ret, GError **error);

/* Keys of a reference may be fewer, or of a base class: look what it names before comparing. */
static bool
reference_equal(CimBroker *self, const CimValue *given, const CimValue *own)
{
    CimInstance *target = NULL;
    CimValue *whole;
    bool equal;

    if (given->type == CIM_STRING || own->is_null)
        return false;
    if (!find_instance(self, given->v.path, &target, NULL))
        return false;
    whole = cim_value_new_reference(cim_instance_path(target));
    equal = cim_value_equal(whole, own);
    cim_value_free(whole);
    cim_instance_free(target);
    return equal;
}

static bool
key_equal(CimBroker *self, const CimInstance *instance, const char *name, const CimValue *given)
{
    const CimProperty *property = cim_class_property(cim_instance_class(instance), name);
    const CimValue *own;

    if (property == NULL)
        return false;
    own = cim_instance_get(instance, property->name);
    return cim_value_equal(given, own) ||
           (property->type == CIM_REFERENCE && !given->is_null && reference_equal(self, given, own));
}

static bool
keys_equal(CimBroker *self, const CimInstance *instance, const CimPath *path)
{
    for (unsigned i = 0; i < path->names->len; i++) {
        if (!key_equal(self, instance, path->names->pdata[i], path->values->pdata[i]))
            return false;
    }
    return true;
}

typedef struct {
    CimBroker     *broker;
    const CimPath *path;
    GPtrArray     *instances;
} Search;

static bool
search_one(const Provider *provider, const CimClass *cim_class, void *data, GError **error)
{
    Search *search = data;
    const CimValue *key = cim_path_key(search->path, provider->key);
    const char *text = key != NULL && !key->is_null && key->type == CIM_STRING ? key->v.string : NULL;

    if (search->path->names->len == 0 && !provider->is_singleton) {
        g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER, "Class %s has several instances: give the key %s",
                    cim_class->name, provider->key);
        return false;
    }
    return provider_collect(provider, cim_class, search->broker->service, text, search->instances, error);
}

/* Association instances around one end that the path gives. */
static bool
search_associations(Search *search, const CimClass *cim_class, GError **error)
{
    AssociationFilter filter = { .assoc_class = cim_class };

    for (unsigned i = 0; i < search->path->values->len; i++) {
        const CimValue *value = search->path->values->pdata[i];
        CimInstance *end = NULL;
        bool ok;

        if (value->type != CIM_REFERENCE || value->is_null)
            continue;
        filter.role = search->path->names->pdata[i];
        if (!find_instance(search->broker, value->v.path, &end, error))
            return false;
        ok = association_references(search->broker->service, end, &filter, search->instances, error);
        cim_instance_free(end);
        return ok;
    }
    g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER,
                "An instance of %s is named by its references: give them as keys",
                cim_class->name);
    return false;
}

static bool
check_key_names(const CimClass *cim_class, const CimPath *path, GError **error)
{
    for (unsigned i = 0; i < path->names->len; i++) {
        const CimProperty *property = cim_class_property(cim_class, path->names->pdata[i]);
        unsigned flags = property == NULL ? 0 : property->flags | (cim_class->flags & CIM_ABSTRACT);
        bool may_be_key = (flags & (CIM_KEY | CIM_ABSTRACT)) != 0; /* a base class may leave it to those below */
        if (!may_be_key) {
            g_set_error(error, CIM_ERROR, CIM_ERROR_NO_SUCH_PROPERTY, "Class %s has no key '%.80s'", cim_class->name,
                        (char *) path->names->pdata[i]);
            return false;
        }
    }
    return true;
}

static bool
pick_one(Search *search, CimInstance **ret, GError **error)
{
    g_autofree char *text = NULL;
    CimInstance *found = NULL;
    unsigned n = 0;

    for (unsigned i = 0; i < search->instances->len; i++) {
        if (keys_equal(search->broker, search->instances->pdata[i], search->path)) {
            found = search->instances->pdata[i];
            n++;
        }
    }
    if (n == 1) {
        *ret = cim_instance_copy(found);
        return true;
    }
    text = cim_path_to_text(search->path, NULL);
    if (n == 0)
        g_set_error(error, CIM_ERROR, CIM_ERROR_NOT_FOUND, "There is no %.400s", text);
    else
        g_set_error(error, CIM_ERROR, CIM_ERROR_AMBIGUOUS, "%u instances fit %.400s: give more keys", n, text);
    return false;
}

/* CIM_ERROR or REPLICATION_ERROR */
static bool
find_instance(CimBroker *self, const CimPath *path, CimInstance **ret, GError **error)
{
    g_autoptr(GPtrArray) instances = provider_instances_new();
    Search search = { self, path, instances };
    const char *cim_namespace = path->cim_namespace == NULL ? "root/virtualization/v2" : path->cim_namespace;
    const CimClass *cim_class = find_class(cim_namespace, path->class_name, error);

    if (cim_class == NULL || !check_key_names(cim_class, path, error))
        return false;
    if ((cim_class->flags & CIM_ASSOCIATION) != 0) {
        if (!search_associations(&search, cim_class, error))
            return false;
    } else if (!provider_foreach(cim_class, false, search_one, &search, error))
        return false;
    return pick_one(&search, ret, error);
}

static bool
resolve(CimBroker *self, const CimPath *path, CimInstance **ret, GError **error)
{
    GError *own_error = NULL;

    return find_instance(self, path, ret, &own_error) || propagate(own_error, error);
}

bool
cim_broker_get(CimBroker *self, const CimCaller *caller, const CimPath *path, CimInstance **ret, GError **error)
{
    return check_reader(caller, error) && resolve(self, path, ret, error);
}

/* ---- associations ---- */

static bool
resolve_filter(const CimPath *object, const CimAssociationFilter *names, AssociationFilter *filter, GError **error)
{
    const char *cim_namespace = object->cim_namespace == NULL ? "root/virtualization/v2" : object->cim_namespace;

    *filter = (AssociationFilter) { .role = names->role, .result_role = names->result_role };
    if (names->assoc_class != NULL &&
        (filter->assoc_class = find_class(cim_namespace, names->assoc_class, error)) == NULL)
        return false;
    if (names->result_class != NULL &&
        (filter->result_class = find_class(cim_namespace, names->result_class, error)) == NULL)
        return false;
    return true;
}

typedef bool (*AssociationFunc)(ReplicationService *service, const CimInstance *object, const AssociationFilter *filter,
                                GPtrArray *results, GError **error);

static bool
walk_associations(CimBroker *self, const CimPath *object, const AssociationFilter *filter, AssociationFunc walk,
                  GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) results = provider_instances_new();
    GError *own_error = NULL;
    CimInstance *instance = NULL;
    bool ok;

    if (!resolve(self, object, &instance, error))
        return false;
    ok = walk(self->service, instance, filter, results, &own_error);
    cim_instance_free(instance);
    if (!ok)
        return propagate(own_error, error);
    *ret = g_steal_pointer(&results);
    return true;
}

bool
cim_broker_associators(CimBroker *self, const CimCaller *caller, const CimPath *object,
                       const CimAssociationFilter *names, GPtrArray **ret, GError **error)
{
    AssociationFilter filter;

    return check_reader(caller, error) && resolve_filter(object, names, &filter, error) &&
           walk_associations(self, object, &filter, association_associators, ret, error);
}

bool
cim_broker_references(CimBroker *self, const CimCaller *caller, const CimPath *object,
                      const CimAssociationFilter *names, GPtrArray **ret, GError **error)
{
    AssociationFilter filter;

    if (!check_reader(caller, error) || !resolve_filter(object, names, &filter, error))
        return false;
    if (filter.assoc_class == NULL)
        filter.assoc_class = filter.result_class; /* the result is the association itself */
    filter.result_class = NULL;
    return walk_associations(self, object, &filter, association_references, ret, error);
}

/* ---- queries ---- */

static bool
run_select(CimBroker *self, const WqlQuery *query, GPtrArray **ret, GError **error)
{
    g_autoptr(GPtrArray) all = provider_instances_new();
    GPtrArray *matching;

    if (!list_class(self, query->cim_class, false, query, all, error))
        return false;
    matching = provider_instances_new();
    for (unsigned i = 0; i < all->len; i++) {
        if (wql_matches(query, all->pdata[i], replication_service_host_name(self->service)))
            g_ptr_array_add(matching, g_steal_pointer(&all->pdata[i]));
    }
    *ret = matching;
    return true;
}

bool
cim_broker_query(CimBroker *self, const CimCaller *caller, const char *cim_namespace, const char *wql, GPtrArray **ret,
                 GError **error)
{
    g_autoptr(WqlQuery) query = NULL;
    CimAssociationFilter filter;

    if (!check_reader(caller, error))
        return false;
    query = wql_parse(wql, cim_namespace, error);
    if (query == NULL)
        return false;
    filter = (CimAssociationFilter) { query->assoc_class, query->result_class, query->role, query->result_role };
    if (query->kind == WQL_ASSOCIATORS)
        return cim_broker_associators(self, caller, query->object, &filter, ret, error);
    if (query->kind == WQL_REFERENCES)
        return cim_broker_references(self, caller, query->object, &filter, ret, error);
    return run_select(self, query, ret, error);
}

/* ---- changes ---- */

bool
cim_broker_modify(CimBroker *self, const CimCaller *caller, const CimPath *path, const CimInstance *changes,
                  GError **error)
{
    CimInstance *instance = NULL;

    if (!check_reader(caller, error) || !resolve(self, path, &instance, error))
        return false;
    g_set_error(error, CIM_ERROR, CIM_ERROR_NOT_SUPPORTED,
                "Instances of %s are changed by the methods of Msvm_ReplicationService, not directly",
                cim_instance_class(instance)->name);
    cim_instance_free(instance);
    return false;
}

/* ---- methods ---- */

static CimValue *
reference_from(const CimValue *given, const char *cim_namespace, GError **error)
{
    CimInstance *instance;
    CimPath *path = NULL;

    if (given->type == CIM_INSTANCE)
        path = cim_instance_path(given->v.instance);
    else if (given->type != CIM_STRING)
        g_set_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH, "a reference is wanted, not a %s",
                    cim_type_name(given->type));
    else if (*given->v.string == '\0')
        return cim_value_new_null(CIM_REFERENCE, false);
    else if (*given->v.string == '<' || embedded_is_mof(given->v.string)) {
        instance = cim_instance_from_text(given->v.string, cim_namespace, error);
        path = instance == NULL ? NULL : cim_instance_path(instance);
        cim_instance_free(instance);
    } else
        path = cim_path_from_text(given->v.string, cim_namespace, error);
    return path == NULL ? NULL : cim_value_new_reference(path);
}

static CimValue *
convert_scalar(const CimValue *given, CimType type, const char *cim_namespace, GError **error)
{
    g_autofree char *text = NULL;

    if (given->is_null)
        return cim_value_new_null(type, false);
    if (given->type == type)
        return cim_value_copy(given);
    if (type == CIM_REFERENCE)
        return reference_from(given, cim_namespace, error);
    text = cim_value_to_text(given);
    return cim_value_from_text(type, text, error);
}

static CimValue *
convert_array(const CimValue *given, CimType type, const char *cim_namespace, GError **error)
{
    CimValue *array = cim_value_new_array(type);

    for (unsigned i = 0; i < (given->is_array ? given->v.items->len : 1); i++) {
        CimValue *item = convert_scalar(given->is_array ? given->v.items->pdata[i] : given, type, cim_namespace, error);
        if (item == NULL) {
            cim_value_free(array);
            return NULL;
        }
        cim_value_append(array, item);
    }
    return array;
}

static CimValue *
convert_argument(const CimValue *given, const CimProperty *parameter, const char *cim_namespace, GError **error)
{
    bool wants_array = (parameter->flags & CIM_ARRAY) != 0;
    CimValue *value = NULL;

    if (given->is_null)
        return cim_value_new_null(parameter->type, wants_array);
    if (given->is_array && !wants_array)
        g_set_error(error, CIM_ERROR, CIM_ERROR_TYPE_MISMATCH, "one value is wanted, not an array");
    else if (wants_array)
        value = convert_array(given, parameter->type, cim_namespace, error);
    else
        value = convert_scalar(given, parameter->type, cim_namespace, error);
    if (value == NULL)
        g_prefix_error(error, "Parameter %s: ", parameter->name);
    return value;
}

static const CimProperty *
find_parameter(const CimMethod *method, const char *name)
{
    for (unsigned i = 0; i < method->n_parameters; i++) {
        if (g_ascii_strcasecmp(method->parameters[i].name, name) == 0)
            return &method->parameters[i];
    }
    return NULL;
}

static bool
convert_arguments(const CimMethod *method, GHashTable *given, const char *cim_namespace, GHashTable *in, GError **error)
{
    GHashTableIter iter;
    void *name, *value;

    if (given == NULL)
        return true;
    g_hash_table_iter_init(&iter, given);
    while (g_hash_table_iter_next(&iter, &name, &value)) {
        const CimProperty *parameter = find_parameter(method, name);
        CimValue *converted;

        if (parameter == NULL) {
            g_set_error(error, CIM_ERROR, CIM_ERROR_INVALID_PARAMETER, "Method %s has no parameter '%.80s'",
                        method->name, (char *) name);
            return false;
        }
        if ((parameter->flags & CIM_IN) == 0)
            continue;
        converted = convert_argument(value, parameter, cim_namespace, error);
        if (converted == NULL)
            return false;
        g_hash_table_insert(in, g_strdup(parameter->name), converted);
    }
    return true;
}

static GHashTable *
values_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify) cim_value_free);
}

static GHashTable *
null_results(const CimMethod *method)
{
    GHashTable *out = values_new();

    for (unsigned i = 0; i < method->n_parameters; i++) {
        const CimProperty *parameter = &method->parameters[i];
        if ((parameter->flags & CIM_OUT) != 0)
            g_hash_table_insert(out, g_strdup(parameter->name),
                                cim_value_new_null(parameter->type, (parameter->flags & CIM_ARRAY) != 0));
    }
    return out;
}

/* The row and the declaration of the target's own class: @method may be that of a base class. */
static bool
find_method(const CimInstance *target, const char *name, const MethodRow **ret_row, const CimMethod **ret_method,
            GError **error)
{
    const CimClass *cim_class = cim_instance_class(target);

    *ret_method = cim_class_method(cim_class, name);
    *ret_row = *ret_method == NULL ? NULL : method_find(cim_class, name);
    if (*ret_row != NULL)
        return true;
    g_set_error(error, CIM_ERROR, *ret_method == NULL ? CIM_ERROR_METHOD_NOT_FOUND : CIM_ERROR_METHOD_NOT_AVAILABLE,
                "Class %s has no method '%.80s'", cim_class->name, name);
    return false;
}

static bool
invoke_on(CimBroker *self, const CimCaller *caller, const CimInstance *target, const char *name, GHashTable *given,
          MethodCall *call, char **ret_message, GError **error)
{
    const MethodRow *row;
    const CimMethod *method;

    if (!find_method(target, name, &row, &method, error) ||
        !convert_arguments(method, given, cim_instance_class(target)->cim_namespace, call->in, error))
        return false;
    call->service = self->service;
    call->user = caller->user;
    call->target = target;
    call->out = null_results(method);
    method_run(row, caller, call, ret_message);
    return true;
}

bool
cim_broker_invoke(CimBroker *self, const CimCaller *caller, const CimPath *path, const CimMethod *method,
                  GHashTable *in, GHashTable **ret_out, uint32_t *ret_value, char **ret_message, GError **error)
{
    g_autoptr(GHashTable) arguments = values_new();
    g_autofree char *message = NULL;
    MethodCall call = { .in = arguments };
    CimInstance *target = NULL;
    bool ok;

    if (!check_reader(caller, error) || !resolve(self, path, &target, error))
        return false;
    ok = invoke_on(self, caller, target, method->name, in, &call, &message, error);
    cim_instance_free(target);
    job_unref(call.job);
    if (!ok)
        return false;
    *ret_out = call.out;
    *ret_value = call.code;
    if (ret_message != NULL)
        *ret_message = g_steal_pointer(&message);
    return true;
}
