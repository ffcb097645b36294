/* getters: property getters out of views, written by what they read.
 *
 * DEFINE_xxx(name, View, expression) makes a PropertyGetter `name`; in the expression `view` is the view.
 */
#pragma once

#include "cim/provider.h"

#define DEFINE_GETTER(name, View, expression)                                                \
    static CimValue *name(ReplicationService *service, const void *data)                     \
    {                                                                                        \
        const View *view = data;                                                             \
        (void) view;                                                                         \
        return (expression);                                                                 \
    }

#define DEFINE_TEXT(name, View, expression)     DEFINE_GETTER(name, View, cim_value_new_string(expression))
#define DEFINE_UINT16(name, View, expression)   DEFINE_GETTER(name, View, cim_value_new_uint(CIM_UINT16, (uint16_t) (expression)))
#define DEFINE_UINT32(name, View, expression)   DEFINE_GETTER(name, View, cim_value_new_uint(CIM_UINT32, (uint32_t) (expression)))
#define DEFINE_UINT64(name, View, expression)   DEFINE_GETTER(name, View, cim_value_new_uint(CIM_UINT64, (expression)))
#define DEFINE_BOOLEAN(name, View, expression)  DEFINE_GETTER(name, View, cim_value_new_boolean(expression))
#define DEFINE_TIME(name, View, expression)     DEFINE_GETTER(name, View, cim_value_new_datetime(expression))
#define DEFINE_INTERVAL(name, View, expression) DEFINE_GETTER(name, View, cim_value_new_interval(expression))

static inline CimValue *
taken_text(char *text) /* takes it */
{
    CimValue *value = cim_value_new_string(text);

    g_free(text);
    return value;
}
#define DEFINE_MADE_TEXT(name, View, expression) DEFINE_GETTER(name, View, taken_text(expression))
