/* connection: one NBD connection (the only place beside disk-client.c and reader.c that sees libnbd.h).
 *
 * One thread at a time. Nothing here blocks for ever unless the server does: waiting is done in steps of at most
 * CONNECTION_STEP_MS, so that a caller can look at its `cancelled` in between.
 */
#pragma once

#include "disk/disk-client.h"

#include <libnbd.h>

#define CONNECTION_STEP_MS 50

/* State of one request. It must stay where it is until it is done or the connection is closed. */
typedef struct {
    bool done;
    int  error; /* errno of the server's answer; 0 when it succeeded; only when done */
} ConnectionRequest;

/* Connects and negotiates @contexts (NULL at the end). */
struct nbd_handle *connection_open(const char *socket_path, const char *export_name, const char *const *contexts,
                                   GError **error);

/* For the completion argument of libnbd's aio calls: notes the outcome in @request. */
nbd_completion_callback connection_completion(ConnectionRequest *request);

/* Sends a read into @buffer, whose content means nothing before @request is done without error. */
bool connection_begin_read(struct nbd_handle *nbd, void *buffer, size_t length, uint64_t offset,
                           ConnectionRequest *request, GError **error);

/* Waits for the next event and handles it; true when one came or the step's time passed. False: connection is dead. */
bool connection_step(struct nbd_handle *nbd, GError **error);

/* Waits until @request is done and checks its outcome. @verb and @offset are for the message. */
bool connection_finish(struct nbd_handle *nbd, ConnectionRequest *request, const char *verb, uint64_t offset,
                       GError **error);

/* Sets @error from the server's answer. Returns false. */
bool connection_fail_request(int server_errno, const char *verb, uint64_t offset, GError **error);
/* Sets @error from libnbd's last error. Returns false. */
bool connection_fail(struct nbd_handle *nbd, DiskError code, GError **error);
