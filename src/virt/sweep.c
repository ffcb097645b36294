#include "virt/virt-private.h"

#include "util/log.h"

#include <string.h>

/* What a killed begin of a backup left in QEMU: block jobs, NBD exports, scratch nodes, bitmaps. libvirt knows nothing
 * of them and trips over them later ("Duplicate nodes"), and the jobs go on filling deleted scratch files.
 *
 * Ours is told by the scratch file: libvirt has one backup at a time, so beside a scratch node of ours every backup
 * job is ours too. Without one only bitmaps are looked at: those of our prefix that no checkpoint of libvirt names.
 *
 * QEMU is spoken to past libvirt, which marks the VM "custom-monitor" in its log. All commands are such that libvirt's
 * own record stays true: it has none of what is removed here.
 */

#define WAIT_SEC  15
#define LOOK_USEC 10000

typedef struct {
    VirtHost     *host;
    virDomainPtr  domain;
    const char   *folder;
    GError      **error;
} Sweep;

/* ---- QEMU's monitor ---- */

static JsonArray *
ask_list(Sweep *self, const char *command, JsonObject *arguments)
{
    g_autoptr(JsonNode) answer = virt_monitor_ask(self->host, self->domain, command, arguments, self->error);
    if (answer == NULL)
        return NULL;
    if (JSON_NODE_HOLDS_ARRAY(answer))
        return json_array_ref(json_node_get_array(answer));
    g_set_error(self->error, VIRT_ERROR, VIRT_ERROR_FAILED, "QEMU answers '%s' with something else than a list",
                command);
    return NULL;
}

/* For what may be gone already; what did not work is seen by the next look. */
static void
tell(Sweep *self, const char *command, JsonObject *arguments)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) answer = virt_monitor_ask(self->host, self->domain, command, arguments, &error);
    if (answer == NULL)
        log_debug("virt", virDomainGetName(self->domain), "%s", error->message);
}

static JsonObject *
arguments_1(const char *name, const char *value)
{
    JsonObject *self = json_object_new();
    json_object_set_string_member(self, name, value);
    return self;
}

static const char *
text_of(JsonObject *object, const char *name)
{
    return json_object_get_string_member_with_default(object, name, "");
}

/* ---- scratch nodes ---- */

static JsonArray *
list_nodes(Sweep *self)
{
    JsonObject *flat = json_object_new();
    json_object_set_boolean_member(flat, "flat", true);
    return ask_list(self, "query-named-block-nodes", flat);
}

/* Numbers N of the pairs of nodes libvirt-N-storage and libvirt-N-format that libvirt made over scratch files of ours.
 * Only the lower one's file is named plainly. */
static GPtrArray *
scratch_numbers(Sweep *self, JsonArray *nodes)
{
    GPtrArray *numbers = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < json_array_get_length(nodes); i++) {
        JsonObject *node = json_array_get_object_element(nodes, i);
        const char *name = text_of(node, "node-name");
        if (g_str_has_prefix(name, "libvirt-") && g_str_has_suffix(name, "-storage") &&
            virt_scratch_is_ours(text_of(node, "file"), self->folder))
            g_ptr_array_add(numbers, g_strndup(name, strlen(name) - strlen("-storage")));
    }
    return numbers;
}

static bool
is_scratch_node(const GPtrArray *numbers, const char *name)
{
    for (guint i = 0; i < numbers->len; i++) {
        const char *number = g_ptr_array_index(numbers, i);
        if (g_str_has_prefix(name, number) && name[strlen(number)] == '-')
            return true;
    }
    return false;
}

static void
delete_nodes(Sweep *self, const GPtrArray *numbers)
{
    static const char *const layers[] = { "-format", "-storage" }; /* from the top */
    for (size_t layer = 0; layer < G_N_ELEMENTS(layers); layer++) {
        for (guint i = 0; i < numbers->len; i++) {
            g_autofree char *name = g_strconcat(g_ptr_array_index(numbers, i), layers[layer], NULL);
            tell(self, "blockdev-del", arguments_1("node-name", name));
        }
    }
}

/* ---- jobs and exports over them ---- */

/* A create job makes the upper node, a backup job fills it. */
static bool
end_jobs(Sweep *self)
{
    g_autoptr(JsonArray) jobs = ask_list(self, "query-jobs", NULL);
    for (guint i = 0; jobs != NULL && i < json_array_get_length(jobs); i++) {
        JsonObject *job = json_array_get_object_element(jobs, i);
        const char *type = text_of(job, "type"), *id = text_of(job, "id");
        if (strcmp(type, "backup") != 0 && !(strcmp(type, "create") == 0 && g_str_has_prefix(id, "create-libvirt-")))
            continue;
        if (strcmp(text_of(job, "status"), "concluded") == 0)
            tell(self, "job-dismiss", arguments_1("id", id));
        else if (strcmp(type, "backup") == 0)
            tell(self, "job-cancel", arguments_1("id", id)); /* a backup has no other way to end than by force */
    }
    return jobs != NULL;
}

/* The server is libvirt's for this backup, unless it serves something else. */
static bool
end_exports(Sweep *self, const GPtrArray *numbers)
{
    g_autoptr(JsonArray) exports = ask_list(self, "query-block-exports", NULL);
    bool others = false;
    for (guint i = 0; exports != NULL && i < json_array_get_length(exports); i++) {
        JsonObject *export = json_array_get_object_element(exports, i);
        if (!is_scratch_node(numbers, text_of(export, "node-name"))) {
            others = true;
            continue;
        }
        JsonObject *arguments = arguments_1("id", text_of(export, "id"));
        json_object_set_string_member(arguments, "mode", "hard");
        tell(self, "block-export-del", arguments);
    }
    if (exports != NULL && !others)
        tell(self, "nbd-server-stop", NULL);
    return exports != NULL;
}

/* ---- bitmaps ---- */

static void
remove_bitmaps_of(Sweep *self, JsonObject *node, const char *const *checkpoints)
{
    JsonArray *bitmaps = json_object_has_member(node, "dirty-bitmaps") ?
        json_object_get_array_member(node, "dirty-bitmaps") : NULL;
    for (guint i = 0; bitmaps != NULL && i < json_array_get_length(bitmaps); i++) {
        const char *name = text_of(json_array_get_object_element(bitmaps, i), "name");
        if (!g_str_has_prefix(name, VIRT_NAME_PREFIX) || g_strv_contains(checkpoints, name))
            continue;
        JsonObject *arguments = arguments_1("node", text_of(node, "node-name"));
        json_object_set_string_member(arguments, "name", name);
        tell(self, "block-dirty-bitmap-remove", arguments);
        log_notice("virt", virDomainGetName(self->domain), "removed bitmap '%s', which no checkpoint of libvirt has",
                   name);
    }
}

/* In writable nodes only: a backing file may be another VM's too. */
static bool
remove_bitmaps(Sweep *self, JsonArray *nodes)
{
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    virDomainGetUUIDString(self->domain, uuid);
    g_auto(GStrv) checkpoints = virt_checkpoint_list(self->host, uuid, self->error);
    for (guint i = 0; checkpoints != NULL && i < json_array_get_length(nodes); i++) {
        JsonObject *node = json_array_get_object_element(nodes, i);
        if (g_str_has_prefix(text_of(node, "node-name"), "libvirt-") &&
            !json_object_get_boolean_member_with_default(node, "ro", true))
            remove_bitmaps_of(self, node, (const char *const *)checkpoints);
    }
    return checkpoints != NULL;
}

/* ---- all of it ---- */

/* Jobs take a moment to end, and nodes go after them: done again until no scratch node is left. */
static bool
sweep_running(Sweep *self)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_SEC * G_USEC_PER_SEC;
    for (bool found = false;; found = true) {
        g_autoptr(JsonArray) nodes = list_nodes(self);
        if (nodes == NULL)
            return false;
        g_autoptr(GPtrArray) numbers = scratch_numbers(self, nodes);
        if (numbers->len == 0)
            return remove_bitmaps(self, nodes);
        if (!found)
            log_notice("virt", virDomainGetName(self->domain),
                       "removing what a killed process left of its capture in QEMU");
        if (g_get_monotonic_time() > deadline) {
            g_set_error(self->error, VIRT_ERROR, VIRT_ERROR_BUSY, "VM '%s' still holds scratch files of an earlier "
                        "capture after %d s", virDomainGetName(self->domain), WAIT_SEC);
            return false;
        }
        if (!end_jobs(self) || !end_exports(self, numbers))
            return false;
        delete_nodes(self, numbers);
        g_usleep(found ? LOOK_USEC : 0);
    }
}

bool
virt_sweep(VirtHost *host, const char *uuid, const char *scratch_folder, GError **error)
{
    g_auto(virDomainPtr) domain = virt_host_domain(host, uuid, error);
    if (domain == NULL)
        return false;
    if (virDomainIsActive(domain) != 1)
        return true; /* QEMU took everything with it */
    g_autoptr(VirtBackupJob) job = NULL;
    if (!virt_backup_job_get(domain, &job))
        return virt_fail(host, domain, error, "may have a backup job, which cannot be looked at");
    if (job != NULL)
        return true; /* somebody else's, begun after ours had ended */
    GError *cause = NULL;
    Sweep self = { .host = host, .domain = domain, .folder = scratch_folder, .error = &cause };
    if (sweep_running(&self))
        return true;
    if (virDomainIsActive(domain) != 1) { /* it went off meanwhile */
        g_clear_error(&cause);
        return true;
    }
    g_propagate_error(error, cause);
    return false;
}
