/* auth-password: the password file and the checking of one password against it. */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "cim/cim.h"

typedef struct PasswordFile PasswordFile;
/* G_FILE_ERROR */
PasswordFile *password_file_open(const char *path, GError **error);
void          password_file_free(PasswordFile *self);

/* Reads the file again if it changed. @ret_generation changes with the contents. False while the file is unusable, which is
 * logged once. */
bool password_file_refresh(PasswordFile *self, guint *ret_generation);
/* Takes as long for an unknown user as for a wrong password. CIM_ROLE_NONE: refused. Safe from any thread. */
CimRole password_file_check(PasswordFile *self, const char *user, const char *password);
