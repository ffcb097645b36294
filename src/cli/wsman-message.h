/* wsman-message: requests as text, answers as objects. Knows the protocol, not how it travels. */
#pragma once

#include "cli/wsman-object.h"

#define WSMAN_ACTION_GET       "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get"
#define WSMAN_ACTION_ENUMERATE "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate"
#define WSMAN_ACTION_PULL      "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull"

/* One request; @target gives resource URI and selectors, @body the inside of s:Body. */
char *wsman_message_new(const char *action, const WsmanReference *target, const char *body);
char *wsman_message_identify(void);

/* Bodies. @wql NULL: all instances of the class. */
char *wsman_body_enumerate(const char *wql);
char *wsman_body_pull(const char *context);
char *wsman_body_invoke(const WsmanReference *target, const char *method, const WsmanArguments *arguments);

typedef struct WsmanReply WsmanReply;

/* A fault becomes @error (WSMAN_CLIENT_ERROR) with the text of the server. */
WsmanReply    *wsman_reply_parse(const void *data, size_t length, GError **error);
void           wsman_reply_free(WsmanReply *self);
/* First element of the body as an instance: of Get, of a method's output, of Identify. NULL with @error when there is none. */
WsmanInstance *wsman_reply_instance(const WsmanReply *self, GError **error);
/* The sentence that virt-replicad adds to an answer whose return value is an error; NULL when there is none. */
char          *wsman_reply_message(const WsmanReply *self);
/* Adds the items of an EnumerateResponse or PullResponse to @items; @ret_context is NULL at the end of the sequence. */
bool           wsman_reply_items(const WsmanReply *self, GPtrArray *items, char **ret_context, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(WsmanReply, wsman_reply_free)
