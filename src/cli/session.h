/* session: one run of the program against one service: the connection, finding VMs, calling methods and waiting for jobs.
 *
 * Single-threaded. Errors are COMMAND_ERROR, WSMAN_CLIENT_ERROR or HTTP_ERROR; command_exit_status() knows them all.
 */
#pragma once

#include "cli/command.h"
#include "cli/wsman-client.h"

#define SESSION_DEFAULT_URI "unix:///run/virt-replica/api.sock"

typedef struct {
    const char *uri;     /* unix:///PATH or wsman+https://[USER@]HOST[:PORT]; NULL: the default */
    const char *ca_file; /* (nullable): for https; NULL: the system's authorities */
    bool        quiet;
} SessionOptions;

Session     *session_open(const SessionOptions *options, GError **error);
void         session_close(Session *self);
WsmanClient *session_client(Session *self);
bool         session_quiet(const Session *self);
/* A line on standard output, unless quiet. */
void         session_say(const Session *self, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* ---- VMs ---- */
typedef struct {
    char           *uuid, *name; /* the UUID in lower case, as libvirt shows it; the service takes either */
    WsmanInstance  *system;    /* Msvm_ComputerSystem */
    WsmanReference *reference; /* to it */
    unsigned        relationship; /* which one is meant: 0, or 1 of a replica to a third host */
} SessionVm;

/* @name_or_uuid: a UUID wins over a name that looks like one; names are exact. */
SessionVm     *session_find_vm(Session *self, const char *name_or_uuid, GError **error);
void           session_vm_free(SessionVm *vm);
/* "Microsoft:UUID\HVR\0" of the relationship that is meant; (transfer full) */
char          *session_relationship_id(const SessionVm *vm);
/* The text of a Msvm_ReplicationRelationship with that; (transfer full) */
char          *session_embedded_relationship(const SessionVm *vm);
/* Its Msvm_ReplicationRelationship and Msvm_ReplicationSettingData. */
WsmanInstance *session_relationship(Session *self, const SessionVm *vm, GError **error);
WsmanInstance *session_settings(Session *self, const SessionVm *vm, GError **error);
/* Recovery points of a replica, Msvm_VirtualSystemSettingData, oldest first. */
GPtrArray     *session_points(Session *self, const SessionVm *vm, GError **error);

/* Of the network adapters of a VM the instances of one class. */
GPtrArray     *session_adapters(Session *self, const SessionVm *vm, const char *class_name, GError **error);

/* ---- methods and jobs ---- */
typedef enum { CALL_FAILED, CALL_DONE, CALL_DETACHED } CallResult;

typedef struct {
    const WsmanReference *target;
    const char *method;
    const char *title;  /* what it is, for messages and progress: "Failover of 'web1'" */
    const char *needs;  /* (nullable): what must hold, told when the state forbids it; a sentence without its stop */
    const SessionVm *vm; /* (nullable): whose state is then told */
    bool        detach; /* do not wait for the job */
} SessionCall;

/* Calls, and waits for the end of the job. CALL_DONE only when the work is done: ReturnValue 0, or the job completed. */
CallResult session_call(Session *self, const SessionCall *call, const WsmanArguments *arguments, GError **error);
/* Waits for a job that is known already. */
bool       session_wait_job(Session *self, const WsmanReference *job, const char *title, GError **error);
/* Pauses between two looks at something; false with COMMAND_ERROR_INTERRUPTED after Ctrl-C. @what: what goes on regardless */
bool       session_pause(const char *what, GError **error);

/* ---- statistics ---- */
/**
 * session_statistics:
 * @ret_issues: what is not well, of char*; empty when all is
 *
 * Returns: Msvm_ReplicationStatistics of the relationship that is meant
 */
WsmanInstance *session_statistics(Session *self, const SessionVm *vm, GPtrArray **ret_issues, GError **error);
bool           session_reset_statistics(Session *self, const SessionVm *vm, GError **error);

/* ---- pure parts, for tests ---- */
/* Fills @config; its strings are owned by @strings. */
bool  session_parse_uri(const char *uri, HttpClientConfig *config, GPtrArray *strings, GError **error);
/* 'it\'s': a WQL string */
char *session_wql_quote(const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Session, session_close)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SessionVm, session_vm_free)
