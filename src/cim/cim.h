/* cim: the model of classes, instances, associations and methods that every API is a binding of.
 *
 * Classes come from schema/ (MOF files) through generator/ as constant tables. Instances are values made from live state by
 * providers; nothing is cached. A CimBroker is safe from any thread; values and instances are used by one thread at a time.
 * Names of classes, properties, methods and namespaces compare without case.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { /* CIM status codes (DSP0223) */
    CIM_ERROR_FAILED = 1, CIM_ERROR_ACCESS_DENIED = 2, CIM_ERROR_INVALID_NAMESPACE = 3, CIM_ERROR_INVALID_PARAMETER = 4,
    CIM_ERROR_INVALID_CLASS = 5, CIM_ERROR_NOT_FOUND = 6, CIM_ERROR_NOT_SUPPORTED = 7, CIM_ERROR_ALREADY_EXISTS = 11,
    CIM_ERROR_NO_SUCH_PROPERTY = 12, CIM_ERROR_TYPE_MISMATCH = 13, CIM_ERROR_QUERY_LANGUAGE = 14, CIM_ERROR_INVALID_QUERY = 15,
    CIM_ERROR_METHOD_NOT_AVAILABLE = 16, CIM_ERROR_METHOD_NOT_FOUND = 17, CIM_ERROR_AMBIGUOUS = 200, /* selectors match several */
} CimError;
#define CIM_ERROR (cim_error_quark())
GQuark cim_error_quark(void);

typedef enum {
    CIM_BOOLEAN, CIM_UINT8, CIM_SINT8, CIM_UINT16, CIM_SINT16, CIM_UINT32, CIM_SINT32, CIM_UINT64, CIM_SINT64, CIM_REAL32, CIM_REAL64,
    CIM_CHAR16, CIM_STRING, CIM_DATETIME, CIM_REFERENCE, CIM_INSTANCE, /* embedded object of a class */
} CimType;
const char *cim_type_name(CimType type); /* "uint16", ... as in MOF and CIM-XML */

/* ---- class tables (generated) ---- */
typedef struct CimClass CimClass;
typedef enum {
    CIM_KEY = 1, CIM_ARRAY = 2, CIM_IN = 4, CIM_OUT = 8, CIM_STATIC = 16, CIM_ABSTRACT = 32, CIM_ASSOCIATION = 64,
    CIM_WRITE = 128,
} CimFlags;
typedef struct { const char *name; CimType type; bool is_array; const char *value; /* as in MOF */ } CimQualifier;
typedef struct {
    const char *name;
    CimType     type;
    unsigned    flags;
    const char *reference_class; /* REFERENCE, or EmbeddedInstance qualifier of a string */
    const CimQualifier *qualifiers; unsigned n_qualifiers;
    const CimClass *origin;      /* class that declared it last; NULL for a parameter */
} CimProperty;
typedef struct {
    const char *name;
    CimType     return_type;
    unsigned    flags;
    const CimProperty *parameters; unsigned n_parameters; /* in declared order */
    const CimQualifier *qualifiers; unsigned n_qualifiers;
    const CimClass *origin;
} CimMethod;
struct CimClass {
    const char *name;
    const char *cim_namespace;   /* "root/virtualization/v2" */
    const CimClass *superclass;
    unsigned    flags;
    const CimProperty *properties; unsigned n_properties; /* inherited ones included, sorted by name */
    const CimMethod *methods; unsigned n_methods;          /* inherited ones included */
    const CimQualifier *qualifiers; unsigned n_qualifiers;
};
const CimClass *cim_class_find(const char *cim_namespace, const char *name); /* NULL when unknown */
bool            cim_class_is_a(const CimClass *self, const CimClass *ancestor);
const CimProperty *cim_class_property(const CimClass *self, const char *name);
const CimMethod   *cim_class_method(const CimClass *self, const char *name);
/* All classes of a namespace; NULL at the end. NULL when the namespace is unknown. */
const CimClass *const *cim_classes(const char *cim_namespace);
bool            cim_namespace_equal(const char *a, const char *b); /* "root\\x" and "Root/X" are equal */

/* ---- values ---- */
typedef struct CimInstance CimInstance;
typedef struct CimPath CimPath;
typedef struct CimValue CimValue;
struct CimValue {
    CimType type;
    bool    is_array, is_null;
    union {
        bool     boolean;
        uint64_t uint;      /* UINT*, CHAR16 */
        int64_t  sint;
        double   real;
        char    *string;    /* STRING, DATETIME (25-character DMTF form) */
        CimPath *path;      /* REFERENCE */
        CimInstance *instance;
        GPtrArray *items;   /* of CimValue*, owned, when is_array */
    } v;
};
CimValue *cim_value_new_null(CimType type, bool is_array);
CimValue *cim_value_new_uint(CimType type, uint64_t number);
CimValue *cim_value_new_boolean(bool value);
CimValue *cim_value_new_string(const char *text);           /* NULL gives a null value */
CimValue *cim_value_new_datetime(int64_t usec_since_epoch); /* 0 gives a null value */
CimValue *cim_value_new_interval(int64_t usec);
CimValue *cim_value_new_reference(CimPath *path);           /* takes it */
CimValue *cim_value_new_array(CimType type);
void      cim_value_append(CimValue *array, CimValue *item); /* takes it */
CimValue *cim_value_copy(const CimValue *self);
void      cim_value_free(CimValue *self);
bool      cim_value_equal(const CimValue *a, const CimValue *b); /* as WMI compares keys: strings without case */
/* Text of a scalar: "3", "TRUE"... in its CIM-XML form; reference as object path. */
char     *cim_value_to_text(const CimValue *self);
CimValue *cim_value_from_text(CimType type, const char *text, GError **error); /* CIM_ERROR_TYPE_MISMATCH */
/* ISO 8601 (point or duration) and DMTF forms of a datetime */
char     *cim_datetime_to_iso(const char *dmtf, bool *ret_is_interval);
char     *cim_datetime_from_any(const char *text, GError **error); /* to the DMTF form */
int64_t   cim_datetime_to_usec(const char *dmtf);

/* ---- object paths ---- */
struct CimPath {
    char *cim_namespace;
    char *class_name;
    GPtrArray *names;  /* char*, owned */
    GPtrArray *values; /* CimValue*, owned; same length */
};
CimPath *cim_path_new(const char *cim_namespace, const char *class_name);
void     cim_path_add(CimPath *self, const char *name, CimValue *value); /* takes @value */
const CimValue *cim_path_key(const CimPath *self, const char *name);
CimPath *cim_path_copy(const CimPath *self);
void     cim_path_free(CimPath *self);
/* \\HOST\root\virtualization\v2:Class.A="x",B="y" with keys in alphabetical order; @host may be NULL */
char    *cim_path_to_text(const CimPath *self, const char *host);
CimPath *cim_path_from_text(const char *text, const char *default_namespace, GError **error);

/* ---- instances ---- */
CimInstance    *cim_instance_new(const CimClass *cim_class); /* all properties null */
CimInstance    *cim_instance_copy(const CimInstance *self);
void            cim_instance_free(CimInstance *self);
const CimClass *cim_instance_class(const CimInstance *self);
/* Takes @value; a wrong name or type is a bug of ours (asserted). */
void            cim_instance_set(CimInstance *self, const char *property, CimValue *value);
/* Never NULL for a declared property. */
const CimValue *cim_instance_get(const CimInstance *self, const char *property);
/* Given by a client, even as null. */
bool            cim_instance_is_set(const CimInstance *self, const char *property);
CimPath        *cim_instance_path(const CimInstance *self); /* from its key properties */
/* CIM-XML text of one INSTANCE element; NAME is the first attribute of PROPERTY */
char           *cim_instance_to_xml(const CimInstance *self);
/* Every embedded form that clients send: CIM-XML (DTD 2.0 and WMI's), inside CIM/DECLARATION too, WS-CIM XML, MOF text. */
CimInstance    *cim_instance_from_text(const char *text, const char *cim_namespace, GError **error);
/* CIM-XML CLASS element, with what the options ask for */
char           *cim_class_to_xml(const CimClass *self, bool inherited, bool qualifiers, bool class_origin);

/* ---- the broker ---- */
typedef enum { CIM_ROLE_NONE, CIM_ROLE_READER, CIM_ROLE_OPERATOR, CIM_ROLE_ADMINISTRATOR } CimRole;
typedef struct { const char *user; CimRole role; } CimCaller;

typedef struct CimBroker CimBroker;
typedef struct ReplicationService ReplicationService;
CimBroker *cim_broker_new(ReplicationService *service);
void       cim_broker_free(CimBroker *self);

/* Results are arrays of CimInstance*, owned by the array. A caller with less than CIM_ROLE_READER gets CIM_ERROR_ACCESS_DENIED. */

/* @path may be of a base class and may hold a subset of the keys, of a singleton none. CIM_ERROR_NOT_FOUND,
 * CIM_ERROR_AMBIGUOUS (keys fit several), CIM_ERROR_NO_SUCH_PROPERTY (a name that is no key), CIM_ERROR_INVALID_PARAMETER
 * (keys are needed and there are none). */
bool cim_broker_get(CimBroker *self, const CimCaller *caller, const CimPath *path, CimInstance **ret, GError **error);
/* @exact: subclasses left out */
bool cim_broker_enumerate(CimBroker *self, const CimCaller *caller, const char *cim_namespace, const char *class_name,
                          bool exact, GPtrArray **ret, GError **error);
bool cim_broker_query(CimBroker *self, const CimCaller *caller, const char *cim_namespace, const char *wql,
                      GPtrArray **ret, GError **error);
typedef struct {
    const char *assoc_class, *result_class, *role, *result_role; /* each nullable */
} CimAssociationFilter;
bool cim_broker_associators(CimBroker *self, const CimCaller *caller, const CimPath *object,
                            const CimAssociationFilter *filter, GPtrArray **ret, GError **error);
/* The association instances that name @object. @filter: assoc_class or result_class is the association's class. */
bool cim_broker_references(CimBroker *self, const CimCaller *caller, const CimPath *object,
                           const CimAssociationFilter *filter, GPtrArray **ret, GError **error);
/* Changes the properties that @changes has set; classes that do not allow it: CIM_ERROR_NOT_SUPPORTED. */
bool cim_broker_modify(CimBroker *self, const CimCaller *caller, const CimPath *path, const CimInstance *changes,
                       GError **error);
/**
 * cim_broker_invoke:
 * @path: instance (a subset of keys that names exactly one, or none for a singleton)
 * @in: values by parameter name; absent ones are null. NULL when there are none. A value of another type is
 *      converted when that can be: texts to all types, texts (object path or embedded instance) and instances to references
 * @ret_out: table of name -> CimValue* of the out parameters, owned by the caller
 * @ret_value: the method's return code. A method that fails by its own rules gives true and its code
 * @ret_message: (nullable) one sentence for a person when @ret_value is an error code
 */
bool cim_broker_invoke(CimBroker *self, const CimCaller *caller, const CimPath *path, const CimMethod *method,
                       GHashTable *in, GHashTable **ret_out, uint32_t *ret_value, char **ret_message, GError **error);
