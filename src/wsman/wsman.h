/* wsman: WS-Management over the CIM broker.
 *
 * A WsmanServer is the service; a WsmanEndpoint binds it to one listener and to the way callers of that listener prove who
 * they are. Both are safe from any thread. names.h has the URIs of what is spoken.
 *
 *     WsmanServer *wsman = wsman_new(broker, &(WsmanConfig){ .product_version = VERSION });
 *     WsmanEndpoint *local = wsman_endpoint_new(wsman, authenticator_local_new("libvirt"));
 *     http_server_start(&unix_socket, wsman_endpoint_handle, local, &error);
 */
#pragma once

#include "cim/cim.h"
#include "http/http-server.h"
#include "wsman/auth.h"

typedef struct {
    const char *product_version;    /* for Identify */
    const char *machine;            /* host name in faults; NULL: this host's */
    gint64      context_idle_usec;  /* an enumeration that nobody pulls is dropped after this; 0: 240 s */
    guint       max_contexts_user;  /* 0: 100 */
    guint       max_contexts;       /* 0: 1000 */
} WsmanConfig;

typedef struct WsmanServer WsmanServer;
WsmanServer *wsman_new(CimBroker *broker, const WsmanConfig *config); /* borrows @broker, copies @config */
void         wsman_free(WsmanServer *self); /* after its endpoints */

typedef struct WsmanEndpoint WsmanEndpoint;
/* Borrows @server, takes @authenticator. */
WsmanEndpoint *wsman_endpoint_new(WsmanServer *server, Authenticator *authenticator);
void           wsman_endpoint_free(WsmanEndpoint *self); /* after the listener has stopped */

/* True for the paths that wsman_endpoint_handle serves, for a listener that serves others too. */
bool wsman_endpoint_serves(const char *path);
/* An HttpHandler; @endpoint is the WsmanEndpoint. */
void wsman_endpoint_handle(void *endpoint, HttpRequest *request);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanServer, wsman_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanEndpoint, wsman_endpoint_free)
