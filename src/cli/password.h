/* password: where the password for a remote service comes from: VIRT_REPLICA_PASSWORD, else a prompt on the terminal. */
#pragma once

#include <glib.h>

char *password_get(const char *user, const char *host, GError **error);
