/* reach: may another user pass through the folders down to a place?
 *
 * QEMU of the system libvirt runs as a user of its own, and must get to files that we put somewhere. Asked of the kernel as that user,
 * so that ACLs count; what AppArmor and SELinux would say is not asked.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/**
 * reach_check:
 * @user: a name of the passwd database; NULL: nobody else is concerned, true
 * @folder: absolute; where it does not exist yet, what is there of the path counts
 *
 * Returns: false when @user is not known, or may not pass one of the folders, which @error names with the cure. Only
 * root can find out: true for everybody else. Safe from any thread.
 */
bool reach_check(const char *user, const char *folder, GError **error);
