#include "virt/virt-private.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* libvirt does not tell the process id of a QEMU, but QEMU's command line carries the domain's UUID, and the folder
 * of the hypervisor's state, which tells two hypervisors on one machine apart. */

const char *
virt_embed_root(const char *uri)
{
    const char *root = strstr(uri, "/embed?root=");
    return root != NULL ? root + strlen("/embed?root=") : NULL;
}

/* @line: arguments, each ended by a NUL. */
static bool
is_qemu_of(const char *line, gsize length, const char *uuid, const char *root)
{
    bool qemu = false, uuid_matches = false, root_matches = root == NULL, after_uuid = false;
    for (const char *arg = line; arg < line + length; arg += strlen(arg) + 1) {
        if (arg == line)
            qemu = strstr(arg, "qemu") != NULL;
        if (after_uuid && g_ascii_strcasecmp(arg, uuid) == 0)
            uuid_matches = true;
        after_uuid = strcmp(arg, "-uuid") == 0;
        const char *at = root != NULL ? strstr(arg, root) : NULL;
        if (at != NULL && g_str_has_prefix(at + strlen(root), "/lib/qemu/domain-"))
            root_matches = true;
    }
    return qemu && uuid_matches && root_matches;
}

static int64_t
boot_usec(void)
{
    g_autofree char *stat = NULL;
    if (!g_file_get_contents("/proc/stat", &stat, NULL, NULL))
        return 0;
    const char *line = strstr(stat, "\nbtime ");
    return line != NULL ? g_ascii_strtoll(line + strlen("\nbtime "), NULL, 10) * G_USEC_PER_SEC : 0;
}

static int64_t
process_started_usec(int64_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%" G_GINT64_FORMAT "/stat", pid);
    g_autofree char *stat = NULL;
    if (!g_file_get_contents(path, &stat, NULL, NULL))
        return 0;
    /* The command's name is in parentheses and may hold anything; field 22 is the start in ticks since boot. */
    const char *rest = strrchr(stat, ')');
    g_auto(GStrv) fields = g_strsplit(rest != NULL ? rest + 1 : "", " ", 22);
    if (g_strv_length(fields) < 21)
        return 0;
    int64_t ticks = g_ascii_strtoll(fields[20], NULL, 10);
    return boot_usec() + ticks * G_USEC_PER_SEC / sysconf(_SC_CLK_TCK);
}

int64_t
virt_process_find(const char *uri, const char *uuid, int64_t *ret_started_usec)
{
    g_autoptr(GDir) proc = g_dir_open("/proc", 0, NULL);
    const char *root = virt_embed_root(uri);
    const char *entry;
    while (proc != NULL && (entry = g_dir_read_name(proc)) != NULL) {
        if (!g_ascii_isdigit(entry[0]))
            continue;
        g_autofree char *path = g_build_filename("/proc", entry, "cmdline", NULL);
        g_autofree char *line = NULL;
        gsize length = 0;
        if (!g_file_get_contents(path, &line, &length, NULL) || !is_qemu_of(line, length, uuid, root))
            continue;
        int64_t pid = g_ascii_strtoll(entry, NULL, 10);
        *ret_started_usec = process_started_usec(pid);
        return pid;
    }
    *ret_started_usec = 0;
    return 0;
}
