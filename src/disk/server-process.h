/* server-process: the life of a qemu-storage-daemon whose files are in one run folder.
 *
 * The process is not our child: it daemonizes, so that it outlives us. It is known by a pidfd, which stays right when
 * its number is used again. Stateless.
 */
#pragma once

#include "disk/disk-client.h"

#include <sys/types.h>

typedef struct {
    char *folder;      /* from the root on */
    char *nbd_socket;
    char *qmp_socket;
    char *pid_file;
} ServerFiles;

/* DISK_ERROR_TOOL when the sockets' paths are too long. */
bool server_files_init(ServerFiles *self, const char *run_folder, GError **error);
void server_files_clear(ServerFiles *self);

/* pidfd of the process that serves these files, or -1 when there is none; false with @error when that cannot be told. */
bool server_process_find(const ServerFiles *files, int *ret_pidfd, GError **error);
bool server_process_is_alive(int pidfd);
/* Asks it to end, then insists; waits for its end and removes its files. */
bool server_process_end(const ServerFiles *files, int pidfd, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ServerFiles, server_files_clear)
