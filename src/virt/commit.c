#include "virt/virt-private.h"
#include "virt/domxml.h"

#include <string.h>

/* Folding the overlay of a running guest into the image below it. QEMU mirrors what is written meanwhile into both; when both are
 * equal the guest is switched over, and libvirt's definition with it. */

#define LOOK_USEC (50 * 1000)

typedef enum { LOOK_FAILED, LOOK_NO_JOB, LOOK_RUNNING, LOOK_READY } Look;

static bool
is_ready(const xmlNode *disk)
{
    const xmlNode *mirror = domxml_child(disk, "mirror");
    return mirror != NULL && domxml_attr_is(mirror, "ready", "yes");
}

/* The element of one disk in the live definition; borrowed from @doc. */
static xmlNode *
find_disk(xmlDoc *doc, const char *target)
{
    xmlNode *devices = domxml_child(xmlDocGetRootElement(doc), "devices");
    for (xmlNode *disk = domxml_child(devices, "disk"); disk != NULL; disk = domxml_next(disk, "disk")) {
        if (domxml_attr_is(domxml_child(disk, "target"), "dev", target))
            return disk;
    }
    return NULL;
}

static xmlDoc *
read_definition(VirtHost *host, virDomainPtr domain, unsigned flags, GError **error)
{
    char *text = virDomainGetXMLDesc(domain, flags);
    if (text == NULL) {
        virt_fail(host, domain, error, "has a definition that cannot be read");
        return NULL;
    }
    xmlDoc *doc = domxml_parse(text, error);
    free(text);
    return doc;
}

static Look
look_at_job(VirtHost *host, virDomainPtr domain, const char *target, unsigned *ret_percent, GError **error)
{
    virDomainBlockJobInfo info = { 0 };
    int found = virDomainGetBlockJobInfo(domain, target, &info, 0);
    if (found < 0) {
        virt_fail(host, domain, error, "cannot be asked for the block job of disk '%s'", target);
        return LOOK_FAILED;
    }
    if (found == 0)
        return LOOK_NO_JOB;
    if (info.type != VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_BUSY, "disk '%s' of VM '%s' has another block job; let it end first", target,
                    virDomainGetName(domain));
        return LOOK_FAILED;
    }
    *ret_percent = info.end > 0 ? (unsigned)(info.cur * 100 / info.end) : 0;
    g_autoptr(xmlDoc) doc = read_definition(host, domain, 0, error);
    if (doc == NULL)
        return LOOK_FAILED;
    return is_ready(find_disk(doc, target)) ? LOOK_READY : LOOK_RUNNING;
}

/* Until both images are equal; one that was begun by an earlier daemon is waited for, too. */
static bool
wait_until_ready(VirtHost *host, virDomainPtr domain, const char *target, VirtProgressFunc progress, void *opaque, GError **error)
{
    for (;;) {
        unsigned percent = 0;
        switch (look_at_job(host, domain, target, &percent, error)) {
        case LOOK_FAILED:
            return false;
        case LOOK_NO_JOB:
            g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED,
                        "the commit of disk '%s' of VM '%s' ended before it was complete; libvirt's log has the reason", target,
                        virDomainGetName(domain));
            return false;
        case LOOK_READY:
            return true;
        case LOOK_RUNNING:
            break;
        }
        if (progress != NULL)
            progress(opaque, percent);
        g_usleep(LOOK_USEC);
    }
}

bool
virt_host_commit_disk(VirtHost *self, const char *uuid, const char *target, VirtProgressFunc progress, void *opaque, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    if (domain == NULL)
        return false;
    unsigned percent = 0;
    Look look = look_at_job(self, domain, target, &percent, error);
    if (look == LOOK_FAILED)
        return false;
    if (look == LOOK_NO_JOB &&
        virDomainBlockCommit(domain, target, NULL, NULL, 0, VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | VIR_DOMAIN_BLOCK_COMMIT_SHALLOW) < 0)
        return virt_fail(self, domain, error, "cannot commit disk '%s'", target);
    if (!wait_until_ready(self, domain, target, progress, opaque, error))
        return false;
    return virDomainBlockJobAbort(domain, target, VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT) == 0 ||
           virt_fail(self, domain, error, "cannot be switched to the committed disk '%s'", target);
}

bool
virt_host_set_disk_path(VirtHost *self, const char *uuid, const char *target, const char *path, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(self, uuid, error);
    g_autoptr(xmlDoc) doc = domain != NULL
                                ? read_definition(self, domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE, error) : NULL;
    if (doc == NULL)
        return false;
    xmlNode *disk = find_disk(doc, target), *source = domxml_child(disk, "source");
    if (source == NULL) {
        g_set_error(error, VIRT_ERROR, VIRT_ERROR_FAILED, "VM '%s' has no disk '%s'", virDomainGetName(domain), target);
        return false;
    }
    xmlNode *backing = domxml_child(disk, "backingStore");
    if (backing != NULL) {
        xmlUnlinkNode(backing);
        xmlFreeNode(backing);
    }
    xmlSetProp(disk, BAD_CAST "type", BAD_CAST "file");
    xmlUnsetProp(source, BAD_CAST "dev");
    xmlSetProp(source, BAD_CAST "file", BAD_CAST path);
    g_autofree char *text = domxml_print(doc);
    return virt_host_define(self, text, error);
}
