#include "cli/wsman-client.h"

#include "cli/wsman-message.h"

#include <string.h>

struct WsmanClient {
    HttpClient *http;
};

G_DEFINE_QUARK(wsman-client-error-quark, wsman_client_error)

WsmanClient *
wsman_client_new(const HttpClientConfig *config, GError **error)
{
    g_autoptr(WsmanClient) self = g_new0(WsmanClient, 1);

    self->http = http_client_new(config, error);
    if (self->http == NULL)
        return NULL;
    return g_steal_pointer(&self);
}

void
wsman_client_free(WsmanClient *self)
{
    if (self == NULL)
        return;
    http_client_free(self->http);
    g_free(self);
}

/* HTTP answers that carry no SOAP. */
static bool
check_status(unsigned status, GError **error)
{
    if (status == 200 || status == 400 || status == 500)
        return true;
    if (status == 401 || status == 403)
        g_set_error(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_DENIED,
                    "The service does not accept this user (HTTP status %u); check user and password, or membership in the "
                    "group that may use the local socket", status);
    else
        g_set_error(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL, "The service answered with HTTP status %u", status);
    return false;
}

static WsmanReply *
exchange(WsmanClient *self, const char *message, GError **error)
{
    static const char *const headers[] = { "Content-Type: application/soap+xml;charset=UTF-8", NULL };
    g_autoptr(GBytes) answer = NULL;
    unsigned status;

    if (!http_client_request(self->http, "POST", "/wsman", headers, message, strlen(message), &status, &answer, error))
        return NULL;
    if (!check_status(status, error))
        return NULL;
    return wsman_reply_parse(g_bytes_get_data(answer, NULL), g_bytes_get_size(answer), error);
}

static WsmanInstance *
exchange_for_instance(WsmanClient *self, const char *message, GError **error)
{
    g_autoptr(WsmanReply) reply = exchange(self, message, error);

    return reply != NULL ? wsman_reply_instance(reply, error) : NULL;
}

WsmanInstance *
wsman_client_identify(WsmanClient *self, GError **error)
{
    g_autofree char *message = wsman_message_identify();

    return exchange_for_instance(self, message, error);
}

WsmanInstance *
wsman_client_get(WsmanClient *self, const WsmanReference *reference, GError **error)
{
    g_autofree char *message = wsman_message_new(WSMAN_ACTION_GET, reference, "");

    return exchange_for_instance(self, message, error);
}

/* One step of an enumeration; @context NULL afterwards when it was the last. */
static bool
enumerate_step(WsmanClient *self, const char *action, const WsmanReference *target, const char *body, GPtrArray *items,
               char **context, GError **error)
{
    g_autofree char *message = wsman_message_new(action, target, body);
    g_autoptr(WsmanReply) reply = exchange(self, message, error);
    char *next = NULL;

    if (reply == NULL || !wsman_reply_items(reply, items, &next, error))
        return false;
    g_free(*context);
    *context = next;
    return true;
}

GPtrArray *
wsman_client_enumerate(WsmanClient *self, const char *class_name, const char *wql, GError **error)
{
    g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func((GDestroyNotify)wsman_instance_free);
    g_autoptr(WsmanReference) target = wsman_reference_new(wql != NULL ? "*" : class_name);
    g_autofree char *first = wsman_body_enumerate(wql);
    g_autofree char *context = NULL;

    if (!enumerate_step(self, WSMAN_ACTION_ENUMERATE, target, first, items, &context, error))
        return NULL;
    while (context != NULL) {
        g_autofree char *body = wsman_body_pull(context);

        if (!enumerate_step(self, WSMAN_ACTION_PULL, target, body, items, &context, error))
            return NULL;
    }
    return g_steal_pointer(&items);
}

WsmanInstance *
wsman_client_invoke(WsmanClient *self, const WsmanReference *target, const char *method, const WsmanArguments *arguments,
                    char **ret_message, GError **error)
{
    g_autofree char *action = g_strconcat(target->resource_uri, "/", method, NULL);
    g_autofree char *body = wsman_body_invoke(target, method, arguments);
    g_autofree char *message = wsman_message_new(action, target, body);
    g_autoptr(WsmanReply) reply = exchange(self, message, error);
    WsmanInstance *output = reply != NULL ? wsman_reply_instance(reply, error) : NULL;

    if (output != NULL)
        *ret_message = wsman_reply_message(reply);
    return output;
}
