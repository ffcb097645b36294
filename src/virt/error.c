#include "virt/virt-private.h"

#include <string.h>

G_DEFINE_QUARK(virt-error-quark, virt_error)

/* Next step by libvirt's error code; a code that is not here is looked at by its text. */
static const struct {
    int       code;
    VirtError error;
} code_map[] = {
    { VIR_ERR_NO_DOMAIN, VIRT_ERROR_NO_DOMAIN },
    { VIR_ERR_NO_CONNECT, VIRT_ERROR_UNAVAILABLE },
    { VIR_ERR_INVALID_CONN, VIRT_ERROR_UNAVAILABLE },
    { VIR_ERR_RPC, VIRT_ERROR_UNAVAILABLE },
    { VIR_ERR_OPERATION_TIMEOUT, VIRT_ERROR_BUSY },
    { VIR_ERR_BLOCK_COPY_ACTIVE, VIRT_ERROR_BUSY },
    { VIR_ERR_RESOURCE_BUSY, VIRT_ERROR_BUSY },
    { VIR_ERR_NO_DOMAIN_CHECKPOINT, VIRT_ERROR_BITMAP_LOST },
    { VIR_ERR_CHECKPOINT_INCONSISTENT, VIRT_ERROR_BITMAP_LOST },
};

/* libvirt has no code of its own for these; QEMU's and libvirt's texts are not translated in a daemon's C locale. */
static const struct {
    const char *text;
    VirtError   error;
} text_map[] = {
    { "\"write\" lock", VIRT_ERROR_LOCKED },
    { "\"consistent read\" lock", VIRT_ERROR_LOCKED },
    { "another process using the image", VIRT_ERROR_LOCKED },
    { "Source and target image have different sizes", VIRT_ERROR_BUSY }, /* a disk has just grown */
    { "has a blockjob assigned", VIRT_ERROR_BUSY },
    { "active block job", VIRT_ERROR_BUSY },
    { "cannot acquire state change lock", VIRT_ERROR_BUSY },
    { "missing or broken bitmap", VIRT_ERROR_BITMAP_LOST },
    { "client socket is closed", VIRT_ERROR_UNAVAILABLE },
    { "domain is not running", VIRT_ERROR_STATE },
    { "domain is already running", VIRT_ERROR_STATE },
};

static VirtError
classify(const virError *cause)
{
    for (size_t i = 0; i < G_N_ELEMENTS(code_map); i++) {
        if (code_map[i].code == cause->code)
            return code_map[i].error;
    }
    for (size_t i = 0; cause->message != NULL && i < G_N_ELEMENTS(text_map); i++) {
        if (strstr(cause->message, text_map[i].text) != NULL)
            return text_map[i].error;
    }
    if (cause->code == VIR_ERR_OPERATION_INVALID)
        return VIRT_ERROR_STATE;
    return VIRT_ERROR_FAILED;
}

bool
virt_fail(VirtHost *host, virDomainPtr domain, GError **error, const char *format, ...)
{
    virErrorPtr cause = virSaveLastError(); /* before anything else is asked of libvirt */
    VirtError code = cause != NULL ? classify(cause) : VIRT_ERROR_FAILED;
    va_list args;
    va_start(args, format);
    g_autofree char *words = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *vm = domain != NULL ? g_strdup_printf("VM '%s' ", virDomainGetName(domain)) : g_strdup("");
    g_set_error(error, VIRT_ERROR, code, "%s%s: %s", vm, words,
                cause != NULL && cause->message != NULL ? cause->message : "libvirt gave no reason");
    virFreeError(cause);
    if (host != NULL)
        virt_host_suspect(host);
    return false;
}
