#include "cli/password.h"

#include "cli/command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_MAX 1024 /* bytes */

static volatile sig_atomic_t interrupted;

static void
on_interrupt(int number)
{
    interrupted = 1;
}

/* Reads without echo. After Ctrl-C the echo is back before the signal takes its usual effect. */
static ssize_t
read_hidden(int terminal, char *line, size_t size)
{
    struct sigaction ours = { .sa_handler = on_interrupt }, before;
    struct termios shown, hidden;
    ssize_t length;

    if (tcgetattr(terminal, &shown) < 0)
        return -1;
    hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)ECHO;
    sigaction(SIGINT, &ours, &before);
    tcsetattr(terminal, TCSAFLUSH, &hidden);
    length = read(terminal, line, size);
    tcsetattr(terminal, TCSAFLUSH, &shown);
    sigaction(SIGINT, &before, NULL);
    if (interrupted)
        raise(SIGINT);
    return length;
}

static char *
prompt(const char *user, const char *host)
{
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    char line[PASSWORD_MAX];
    ssize_t length = -1;

    if (terminal < 0)
        return NULL;
    dprintf(terminal, "Password of %s on %s: ", user, host);
    length = read_hidden(terminal, line, sizeof line);
    dprintf(terminal, "\n");
    close(terminal);
    if (length > 0 && line[length - 1] == '\n')
        length--;
    return length > 0 ? g_strndup(line, (gsize)length) : NULL;
}

char *
password_get(const char *user, const char *host, GError **error)
{
    const char *given = g_getenv("VIRT_REPLICA_PASSWORD");
    char *password = given != NULL ? g_strdup(given) : prompt(user, host);

    if (password == NULL)
        g_set_error(error, COMMAND_ERROR, COMMAND_ERROR_USAGE,
                    "No password for %s on %s: set VIRT_REPLICA_PASSWORD, or run this on a terminal", user, host);
    return password;
}
