#include "cli/point.h"

#include "cli/command.h"
#include "cli/values.h"

#include <string.h>

#define PREFIX_MIN 4 /* characters of an id that may stand for it */

const char *
point_id(const WsmanInstance *point)
{
    const char *id = wsman_instance_text(point, "InstanceID");
    const char *end = id != NULL ? id + strlen(id) : NULL;

    while (end != id && end[-1] != '\\' && end[-1] != ':')
        end--;
    return end;
}

static bool
is_exactly(const WsmanInstance *point, const char *text)
{
    const char *whole = wsman_instance_text(point, "InstanceID");

    return whole != NULL && (g_ascii_strcasecmp(whole, text) == 0 || g_ascii_strcasecmp(point_id(point), text) == 0);
}

static bool
begins_with(const WsmanInstance *point, const char *text)
{
    const char *id = point_id(point);

    return id != NULL && strlen(text) >= PREFIX_MIN && g_ascii_strncasecmp(id, text, strlen(text)) == 0;
}

const WsmanInstance *
point_find(const GPtrArray *points, const char *text, GError **error)
{
    const WsmanInstance *found = NULL;
    unsigned n_found = 0;

    for (guint i = 0; i < points->len; i++) {
        if (is_exactly(points->pdata[i], text))
            return points->pdata[i];
        if (begins_with(points->pdata[i], text)) {
            found = points->pdata[i];
            n_found++;
        }
    }
    if (n_found == 1)
        return found;
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                n_found == 0 ? "There is no recovery point '%s'; 'virt-replica points' shows what there is"
                             : "More than one recovery point begins with '%s'; give more of it", text);
    return NULL;
}

const WsmanInstance *
point_find_at(const GPtrArray *points, int64_t usec, GError **error)
{
    g_autofree char *wanted = value_time_local(usec);
    g_autofree char *oldest = NULL;

    for (guint i = points->len; i > 0; i--) {
        if (wsman_instance_time(points->pdata[i - 1], "CreationTime") <= usec)
            return points->pdata[i - 1];
    }
    oldest = points->len > 0 ? value_time_local(wsman_instance_time(points->pdata[0], "CreationTime")) : g_strdup("none");
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED,
                "No recovery point was taken at %s or before; the oldest there is: %s", wanted, oldest);
    return NULL;
}
