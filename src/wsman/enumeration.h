/* enumeration: results between an Enumerate and its Pulls, by context id.
 *
 * A context belongs to the user who made it, is unguessable, and expires when it is not used for a while. The table is safe
 * from any thread; an Enumeration is used by the thread that took it out.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "wsman/values.h"

typedef enum { ENUMERATE_OBJECTS, ENUMERATE_EPRS, ENUMERATE_OBJECTS_AND_EPRS } EnumerationMode;

typedef struct {
    char      *id; /* "uuid:..." */
    char      *user;
    GPtrArray *items; /* of CimInstance*, or of char* when @is_xml */
    bool       is_xml;
    guint      next;  /* first item not handed out */
    EnumerationMode mode;
    ValueStyle style;
    gint64     last_used_usec; /* monotonic */
} Enumeration;

/* Takes @items. */
Enumeration *enumeration_new(const char *user, GPtrArray *items, bool is_xml, EnumerationMode mode, ValueStyle style);
void         enumeration_free(Enumeration *self);

typedef struct EnumerationTable EnumerationTable;
EnumerationTable *enumeration_table_new(gint64 idle_usec, guint max_per_user, guint max_total);
void              enumeration_table_free(EnumerationTable *self);
/* Takes @enumeration on success; WSMAN_ERROR_QUOTA otherwise. */
bool              enumeration_table_add(EnumerationTable *self, Enumeration *enumeration, GError **error);
/* Out of the table, for its user only: WSMAN_ERROR_ENUMERATION_CONTEXT when there is none. */
Enumeration      *enumeration_table_take(EnumerationTable *self, const char *id, const char *user, GError **error);
/* Back into the table, after a take. */
void              enumeration_table_put_back(EnumerationTable *self, Enumeration *enumeration);
/* Now open, those past their time left out */
guint             enumeration_table_count(EnumerationTable *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Enumeration, enumeration_free)
