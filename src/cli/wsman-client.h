/* wsman-client: one connection to a WS-Management service: Identify, Get, Enumerate and Pull, Invoke.
 *
 * Blocks; one thread at a time. Retries nothing: the caller knows whether a call may be repeated.
 */
#pragma once

#include "cli/wsman-object.h"
#include "http/http-client.h"

typedef enum {
    WSMAN_CLIENT_ERROR_UNREACHABLE, /* nothing was asked or the answer never came */
    WSMAN_CLIENT_ERROR_DENIED,      /* wrong password, or no right to do this */
    WSMAN_CLIENT_ERROR_NOT_FOUND,   /* no such class or instance */
    WSMAN_CLIENT_ERROR_FAULT,       /* any other fault; text is the server's */
    WSMAN_CLIENT_ERROR_PROTOCOL,    /* the answer makes no sense */
} WsmanClientError;
#define WSMAN_CLIENT_ERROR (wsman_client_error_quark())
GQuark wsman_client_error_quark(void);

typedef struct WsmanClient WsmanClient;

WsmanClient *wsman_client_new(const HttpClientConfig *config, GError **error);
void         wsman_client_free(WsmanClient *self);

/* ProtocolVersion, ProductVendor, ProductVersion. */
WsmanInstance *wsman_client_identify(WsmanClient *self, GError **error);
WsmanInstance *wsman_client_get(WsmanClient *self, const WsmanReference *reference, GError **error);
/* Returns: (transfer full): WsmanInstance*, owned by the array. @wql NULL: all of @class_name. */
GPtrArray     *wsman_client_enumerate(WsmanClient *self, const char *class_name, const char *wql, GError **error);
/**
 * wsman_client_invoke:
 * @ret_message: what the service says about a return value that is an error; NULL when it says nothing
 *
 * Returns: the out parameters and ReturnValue; any return value is a success here
 */
WsmanInstance *wsman_client_invoke(WsmanClient *self, const WsmanReference *target, const char *method,
                                   const WsmanArguments *arguments, char **ret_message, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanClient, wsman_client_free)
