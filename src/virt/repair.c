#include "virt/virt-private.h"
#include "virt/domxml.h"

#include "util/durable.h"
#include "util/log.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* libvirt saves a VM's status before the backup job it begins is complete. A process that is killed in these 100 ms
 * leaves one of two traps to whoever opens that hypervisor next:
 *
 *  - "a backup runs", and not which one: libvirt believes it for ever, begin is refused, an abort finds nothing to end;
 *  - a job with a disk that has no state yet: libvirt cannot read the file, and takes a running VM for one that is off.
 *
 * For a hypervisor inside our own process the next one is us, so the status is put right before libvirt reads it:
 * without the job, as libvirt writes it when there is none. What the killed begin had done in QEMU, sweep.c removes.
 *
 * INVARIANTS
 *  (1) A status file is changed only while we hold the lock by which libvirt keeps a second process out.
 *  (2) Each root is looked at once in a process, before it was opened there: the lock is of a kind that a process
 *      has once, so that ours would end libvirt's own. Later nothing can have died but this process.
 *  (3) A backup job that is complete in the file is libvirt's business.
 */

/* ---- one status file ---- */

static const char *const async_attributes[] = { "async", "phase", "flags", "asyncStarted" };

/* A disk that takes part has a state once its job was started. */
static bool
is_complete(const xmlNode *backup)
{
    const xmlNode *disk = domxml_child(domxml_child(backup, "disks"), "disk");
    for (; disk != NULL; disk = domxml_next(disk, "disk")) {
        g_autofree char *state = domxml_attr(disk, "state");
        if (state == NULL && !domxml_attr_is(disk, "backup", "no"))
            return false;
    }
    return backup != NULL;
}

static void
remove_node(xmlNode *node)
{
    if (node != NULL) {
        xmlUnlinkNode(node);
        xmlFreeNode(node);
    }
}

/* Takes a backup job that libvirt could not describe out of @doc. Returns: whether there was one. */
static bool
take_phantom_out(xmlDoc *doc)
{
    xmlNode *root = xmlDocGetRootElement(doc);
    xmlNode *job = domxml_is(root, "domstatus") ? domxml_child(root, "job") : NULL;
    xmlNode *backups = domxml_child(root, "backups");
    if (job == NULL || !domxml_attr_is(job, "async", "backup") || is_complete(domxml_child(backups, "domainbackup")))
        return false;
    remove_node(backups);
    if (domxml_attr_is(job, "type", "none")) {
        remove_node(job);
        return true;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(async_attributes); i++)
        xmlUnsetProp(job, (const xmlChar *)async_attributes[i]);
    return true;
}

static char *
vm_name(const xmlDoc *doc)
{
    const xmlNode *domain = domxml_child(xmlDocGetRootElement(doc), "domain");
    return domxml_text(domxml_child(domain, "name"));
}

static void
repair_file(const char *path)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents(path, &text, NULL, NULL))
        return; /* libvirt will say so */
    g_autoptr(xmlDoc) doc = domxml_parse(text, NULL);
    if (doc == NULL || !take_phantom_out(doc))
        return;
    g_autofree char *name = vm_name(doc), *repaired = domxml_print(doc);
    g_autoptr(GError) error = NULL;
    if (durable_replace(path, repaired, strlen(repaired), &error))
        log_notice("virt", name, "libvirt's status showed a backup job that a killed process was beginning; "
                   "removed it, what it left in QEMU follows");
    else
        log_warning("virt", name, "libvirt's status shows a backup job that was never complete, and stays so until "
                    "the VM's next stop: %s", error->message);
}

/* ---- a root ---- */

/* The file by which libvirt keeps others out, locked; -1 when somebody has it. */
static int
lock_root(const char *folder)
{
    g_autofree char *path = g_build_filename(folder, "driver.pid", NULL);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd >= 0 && fcntl(fd, F_SETLK, &lock) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void
repair_folder(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    int lock = dir != NULL ? lock_root(folder) : -1;
    if (lock < 0)
        return;
    const char *name;
    while ((name = g_dir_read_name(dir)) != NULL) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_str_has_suffix(name, ".xml") && g_file_test(path, G_FILE_TEST_IS_REGULAR))
            repair_file(path);
    }
    close(lock);
}

/* Returns: whether this process sees @root for the first time. */
static bool
is_first_look(const char *root)
{
    static GMutex      lock;
    static GHashTable *seen; /* lives as long as the process */
    g_mutex_lock(&lock);
    if (seen == NULL)
        seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    bool first = g_hash_table_add(seen, g_strdup(root));
    g_mutex_unlock(&lock);
    return first;
}

void
virt_repair_status(const char *uri)
{
    const char *root = virt_embed_root(uri);
    if (root == NULL || !is_first_look(root))
        return;
    g_autofree char *folder = g_build_filename(root, "run", "qemu", NULL);
    repair_folder(folder);
}
