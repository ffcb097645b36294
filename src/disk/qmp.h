/* qmp: commands to a QEMU process over its QMP socket.
 *
 * One thread at a time. Every call ends within QMP_TIMEOUT_SEC.
 */
#pragma once

#include "disk/disk-client.h"

#include <json-glib/json-glib.h>

#define QMP_TIMEOUT_SEC 30

typedef struct Qmp Qmp;

/* DISK_ERROR_CONNECT when nobody listens there or answers. */
Qmp *qmp_connect(const char *socket_path, unsigned timeout_sec, GError **error);
void qmp_free(Qmp *self);
/* Process that listens on the socket. */
pid_t qmp_peer_pid(const Qmp *self);
/* @arguments: (nullable)(transfer full). DISK_ERROR_TOOL when QEMU refuses. */
bool qmp_command(Qmp *self, const char *command, JsonObject *arguments, GError **error);
/* Waits for event @name whose data has @id as "id"; events that came during a command count. */
bool qmp_wait_event(Qmp *self, const char *name, const char *id, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Qmp, qmp_free)
