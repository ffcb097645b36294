/* guest-commands: what is run inside a guest to set the addresses of an adapter. Pure. */
#pragma once

#include "replication/service.h"

/* Words of a Linux guest's script, guest-network.sh, which is the program's standard input; (transfer full). @device: its name in the
 * guest. */
char      **guest_linux_command(const AdapterView *adapter, const char *device);
const char *guest_linux_script(void);
/* Commands of a Windows guest, one after the other: of char **, owned by the array. */
GPtrArray  *guest_windows_commands(const AdapterView *adapter, const char *device);

/* Is all of it on the adapter, when these are its addresses there ("10.0.0.5/24")? For DHCP any IPv4 address that is not link-local. */
bool        guest_has_addresses(const AdapterView *adapter, const char *const *addresses);
