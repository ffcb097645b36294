/* actions: what commands do to one VM, for commands that do several things in a row. Each waits for its end. Defined in commands-vm.c. */
#pragma once

#include "cli/session.h"

/* Asks the guest, and waits until it is off; an error after @timeout_sec seconds, and the guest may still go off. */
bool action_shut_down(Session *session, const SessionVm *vm, uint64_t timeout_sec, GError **error);
bool action_start(Session *session, const SessionVm *vm, GError **error);
bool action_prepare(Session *session, const SessionVm *vm, GError **error);
/* A method of Msvm_ReplicationService about the VM, which is added to @arguments. @verb: "Failover of" */
bool action_service(Session *session, const SessionVm *vm, const char *method, const char *verb, WsmanArguments *arguments, GError **error);
