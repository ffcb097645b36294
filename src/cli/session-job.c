#include "cli/session.h"

#include "cli/progress.h"
#include "cli/values.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#define RETURN_JOB_STARTED   4096
#define RETURN_INVALID_STATE 32775
#define JOB_STATE_COMPLETED  7
#define JOB_COMPLETED_TEXT   "Job is completed"
#define POLL_MSEC            200 /* jobs send no events; most end within a second */

static volatile sig_atomic_t interrupted;

static void
on_interrupt(int number)
{
    interrupted = 1;
}

/* From here on Ctrl-C ends the waiting, not the program. */
static void
catch_interrupt(void)
{
    struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND };

    sigaction(SIGINT, &action, NULL);
}

bool
session_pause(const char *what, GError **error)
{
    catch_interrupt();
    if (!interrupted)
        poll(NULL, 0, POLL_MSEC); /* a signal ends it early */
    if (!interrupted)
        return true;
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_INTERRUPTED, "Interrupted: no longer waiting. %s", what);
    return false;
}

static bool
job_has_ended(uint64_t state)
{
    return state == JOB_STATE_COMPLETED || (state >= 8 && state <= 10) || state == 32768;
}

static const char *
job_error_text(const WsmanInstance *job)
{
    const char *text = wsman_instance_text(job, "ErrorDescription");

    if (text == NULL || *text == '\0')
        text = wsman_instance_text(job, "ErrorSummaryDescription");
    if (text == NULL || *text == '\0')
        text = value_return_code(wsman_instance_number(job, "ErrorCode", 32768));
    return text;
}

static bool
check_ended_job(const WsmanInstance *job, const char *title, GError **error)
{
    uint64_t state = wsman_instance_number(job, "JobState", 0);

    if (state == JOB_STATE_COMPLETED)
        return true;
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED, "%s: %s: %s", title, value_job_state(state),
                job_error_text(job));
    return false;
}

/* The connection or the service went away while the job ran: whether it was done is not known. */
static void
explain_lost_job(GError **error, const char *title)
{
    if (error == NULL || *error == NULL)
        return;
    g_prefix_error(error, "%s: it was started, but its end was not seen; 'virt-replica status' shows what became of it: ",
                   title);
}

/* What the service says of a job that is done, when it is more than that. */
static void
say_note(Session *self, const WsmanInstance *job)
{
    const char *text = wsman_instance_text(job, "JobStatus");

    if (text != NULL && *text != '\0' && !g_str_equal(text, JOB_COMPLETED_TEXT))
        session_say(self, "%s", text);
}

bool
session_wait_job(Session *self, const WsmanReference *job, const char *title, GError **error)
{
    g_autoptr(Progress) progress = progress_new(title, session_quiet(self));
    const char *id = wsman_reference_selector(job, "InstanceID");
    g_autofree char *what = g_strdup_printf("Job %s (%s) goes on; 'virt-replica jobs %s' shows it", id, title, id);

    catch_interrupt();
    for (;;) {
        g_autoptr(WsmanInstance) state = wsman_client_get(session_client(self), job, error);

        if (state == NULL) {
            explain_lost_job(error, title);
            return false;
        }
        if (job_has_ended(wsman_instance_number(state, "JobState", 0))) {
            if (!check_ended_job(state, title, error))
                return false;
            progress_done(progress);
            say_note(self, state);
            return true;
        }
        progress_show(progress, (unsigned)wsman_instance_number(state, "PercentComplete", 0));
        if (!session_pause(what, error))
            return false;
    }
}

/* Adds where the VM is, for a person who has to find out why it was refused. */
static char *
describe_state(Session *self, const SessionCall *call)
{
    g_autoptr(SessionVm) vm = call->vm != NULL ? session_find_vm(self, call->vm->uuid, NULL) : NULL;
    GString *text = g_string_new(NULL);

    if (vm != NULL)
        g_string_append_printf(text, "; VM '%s' here: mode %s, state %s, power %s", vm->name,
                               value_mode(wsman_instance_number(vm->system, "ReplicationMode", 0)),
                               value_replication_state(wsman_instance_number(vm->system, "ReplicationState", 0)),
                               value_power(wsman_instance_number(vm->system, "EnabledState", 0)));
    if (call->needs != NULL)
        g_string_append_printf(text, ". %s", call->needs);
    return g_string_free(text, FALSE);
}

static CallResult
refused(Session *self, const SessionCall *call, uint64_t code, const char *message, GError **error)
{
    g_autofree char *state = NULL;

    if (message == NULL) {
        message = value_return_code(code);
        state = code == RETURN_INVALID_STATE ? describe_state(self, call) : NULL;
    }
    g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_REFUSED, "%s was refused with code %" G_GUINT64_FORMAT ": %s%s",
                call->title, code, message, state != NULL ? state : "");
    return CALL_FAILED;
}

static CallResult
finish_job(Session *self, const SessionCall *call, const WsmanInstance *output, GError **error)
{
    const WsmanReference *job = wsman_instance_reference(output, "Job");
    const char *id = job != NULL ? wsman_reference_selector(job, "InstanceID") : NULL;

    if (id == NULL) {
        g_set_error(error, WSMAN_CLIENT_ERROR, WSMAN_CLIENT_ERROR_PROTOCOL,
                    "%s: the service says that a job was started, but not which", call->title);
        return CALL_FAILED;
    }
    if (call->detach) {
        session_say(self, "%s: job %s runs; 'virt-replica jobs %s' shows it", call->title, id, id);
        return CALL_DETACHED;
    }
    return session_wait_job(self, job, call->title, error) ? CALL_DONE : CALL_FAILED;
}

CallResult
session_call(Session *self, const SessionCall *call, const WsmanArguments *arguments, GError **error)
{
    g_autofree char *message = NULL;
    g_autoptr(WsmanInstance) output = wsman_client_invoke(session_client(self), call->target, call->method, arguments, &message,
                                                          error);
    uint64_t code;

    if (output == NULL) {
        g_prefix_error(error, "%s: ", call->title);
        return CALL_FAILED;
    }
    code = wsman_instance_number(output, "ReturnValue", G_MAXUINT64);
    if (code == 0)
        return CALL_DONE;
    if (code == RETURN_JOB_STARTED)
        return finish_job(self, call, output, error);
    return refused(self, call, code, message, error);
}
