#include "daemon/configuration.h"

#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "replication/context.h"
#include "util/reach.h"
#include "virt/virt.h"

typedef enum { KEY_TEXT, KEY_PATH, KEY_NUMBER, KEY_PORT, KEY_SIZE, KEY_LEVEL, KEY_STALE, KEY_SECONDS } KeyKind;

static const struct {
    const char *group, *name;
    KeyKind     kind;
    size_t      offset;
    const char *fallback; /* NULL: stays empty */
} keys[] = {
#define KEY(group, name, kind, member, fallback) { group, name, kind, G_STRUCT_OFFSET(Config, member), fallback }
    KEY("host", "name", KEY_TEXT, host_name, NULL),
    KEY("host", "uri", KEY_TEXT, uri, "qemu:///system"),
    KEY("host", "qemu-user", KEY_TEXT, qemu_user, NULL),
    KEY("host", "serial-log", KEY_PATH, serial_log_folder, NULL),
    KEY("paths", "state", KEY_PATH, state, "/var/lib/virt-replica"),
    KEY("paths", "run", KEY_PATH, run, "/run/virt-replica"),
    KEY("paths", "scratch", KEY_PATH, scratch, "/var/lib/virt-replica/scratch"),
    KEY("paths", "scratch-max", KEY_SIZE, scratch_max_bytes, "4G"),
    KEY("replication", "address", KEY_TEXT, replication_address, "::"),
    KEY("replication", "port", KEY_PORT, replication_port, "8443"),
    KEY("replication", "ca", KEY_PATH, ca, "/etc/virt-replica/ca.pem"),
    KEY("replication", "certificate", KEY_PATH, certificate, "/etc/virt-replica/cert.pem"),
    KEY("replication", "key", KEY_PATH, key, "/etc/virt-replica/key.pem"),
    KEY("replication", "storage-reserve", KEY_SIZE, storage_reserve_bytes, "256M"),
    KEY("replication", "test-backlog", KEY_SIZE, test_backlog_bytes, "32G"),
    KEY("replication", "workers", KEY_NUMBER, workers, "4"),
    KEY("failover", "fence-command", KEY_PATH, fence_command, NULL),
    KEY("failover", "fence-waived", KEY_TEXT, fence_waived, NULL),
    KEY("failover", "stale-primary", KEY_STALE, stale_action, "leave"),
    KEY("failover", "autostart-wait", KEY_SECONDS, autostart_wait_sec, "600"),
    KEY("api", "socket", KEY_PATH, api_socket, "/run/virt-replica/api.sock"),
    KEY("api", "group", KEY_TEXT, api_group, "libvirt"),
    KEY("api", "address", KEY_TEXT, api_address, "::"),
    KEY("api", "https-port", KEY_PORT, api_https_port, NULL),
    KEY("api", "certificate", KEY_PATH, api_certificate, "/etc/virt-replica/cert.pem"),
    KEY("api", "key", KEY_PATH, api_key, "/etc/virt-replica/key.pem"),
    KEY("api", "password-file", KEY_PATH, password_file, "/etc/virt-replica/passwd"),
    KEY("log", "level", KEY_LEVEL, log_level, "notice"),
#undef KEY
};

#define NETWORK_MAP "network-map" /* the group whose keys are names of networks */

#define SCRATCH_MIN (16ull * 1024 * 1024) /* bytes; below it no capture gets through */

static bool
bad(GError **error, const char *group, const char *name, const char *value, const char *wanted)
{
    g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_INVALID_VALUE, "[%s] %s=%s: %s is wanted", group, name, value,
                wanted);
    return false;
}

static bool
parse_size(const char *text, uint64_t *ret_bytes)
{
    char *end = NULL;
    guint64 number = g_ascii_strtoull(text, &end, 10);
    static const char units[] = "KMGT";
    uint64_t factor = 1;
    if (end == text || !g_ascii_isdigit(text[0]))
        return false;
    for (size_t i = 0; *end != '\0' && i < sizeof units - 1; i++) {
        if (g_ascii_toupper(*end) == units[i]) {
            factor = 1ull << (10 * (i + 1));
            end++;
            break;
        }
    }
    if (*end != '\0' || number > G_MAXINT64 / factor)
        return false;
    *ret_bytes = number * factor;
    return true;
}

static bool
parse_stale_action(const char *text, unsigned *ret_action)
{
    static const char *const names[] = { [STALE_LEAVE] = "leave", [STALE_SHUT_DOWN] = "shut-down", [STALE_TURN_OFF] = "turn-off" };
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_action = i;
            return true;
        }
    }
    return false;
}

static bool
take(Config *self, size_t i, const char *value, GError **error)
{
    void *place = (char *)self + keys[i].offset;
    uint64_t number = 0;
    switch (keys[i].kind) {
    case KEY_PATH:
        if (!g_path_is_absolute(value))
            return bad(error, keys[i].group, keys[i].name, value, "an absolute path");
        /* fall through */
    case KEY_TEXT:
        if (value[0] == '\0')
            return bad(error, keys[i].group, keys[i].name, value, "a value");
        g_free(*(char **)place);
        *(char **)place = g_strdup(value);
        return true;
    case KEY_NUMBER:
    case KEY_PORT:
        if (!g_ascii_string_to_unsigned(value, 10, keys[i].kind == KEY_PORT ? 0 : 1, keys[i].kind == KEY_PORT ? 65535 : 256,
                                        &number, NULL))
            return bad(error, keys[i].group, keys[i].name, value,
                       keys[i].kind == KEY_PORT ? "a port number" : "a number from 1 to 256");
        *(unsigned *)place = (unsigned)number;
        return true;
    case KEY_SECONDS:
        if (!g_ascii_string_to_unsigned(value, 10, 0, G_MAXINT, &number, NULL))
            return bad(error, keys[i].group, keys[i].name, value, "a number of seconds");
        *(unsigned *)place = (unsigned)number;
        return true;
    case KEY_SIZE:
        if (!parse_size(value, place))
            return bad(error, keys[i].group, keys[i].name, value, "a size such as 512M or 4G");
        return true;
    case KEY_LEVEL:
        if (!log_level_parse(value, place))
            return bad(error, keys[i].group, keys[i].name, value, "error, warning, notice, info or debug");
        return true;
    case KEY_STALE:
        if (!parse_stale_action(value, place))
            return bad(error, keys[i].group, keys[i].name, value, "leave, shut-down or turn-off");
        return true;
    }
    return false;
}

static bool
is_known(const char *group, const char *name)
{
    if (strcmp(group, NETWORK_MAP) == 0)
        return true;
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (g_strcmp0(keys[i].group, group) == 0 && (name == NULL || g_strcmp0(keys[i].name, name) == 0))
            return true;
    }
    return false;
}

/* A mistyped key must not be passed over in silence. */
static bool
refuse_unknown(GKeyFile *file, GError **error)
{
    g_auto(GStrv) groups = g_key_file_get_groups(file, NULL);
    for (char **group = groups; *group != NULL; group++) {
        g_auto(GStrv) names = g_key_file_get_keys(file, *group, NULL, NULL);
        if (!is_known(*group, NULL)) {
            g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_GROUP_NOT_FOUND, "there is no group [%s]", *group);
            return false;
        }
        for (char **name = names; name != NULL && *name != NULL; name++) {
            if (!is_known(*group, *name)) {
                g_set_error(error, G_KEY_FILE_ERROR, G_KEY_FILE_ERROR_KEY_NOT_FOUND, "group [%s] has no key '%s'", *group,
                            *name);
                return false;
            }
        }
    }
    return true;
}

static bool
read_keys(Config *self, GKeyFile *file, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autofree char *value = g_key_file_get_string(file, keys[i].group, keys[i].name, NULL);
        if (value != NULL)
            g_strstrip(value);
        const char *used = value != NULL ? value : keys[i].fallback;
        if (used != NULL && !take(self, i, used, error))
            return false;
    }
    g_autofree char *port = g_key_file_get_string(file, "api", "https-port", NULL);
    self->api_https = port != NULL && g_strcmp0(g_strstrip(port), "off") != 0;
    if (self->scratch_max_bytes < SCRATCH_MIN)
        return bad(error, "paths", "scratch-max", "too small", "at least 16M");
    return true;
}

/* "network/NAME" for a bare name; (transfer full) */
static char *
full_network(const char *name)
{
    return strchr(name, '/') != NULL ? g_strdup(name) : g_strconcat("network/", name, NULL);
}

static bool
read_network_map(Config *self, GKeyFile *file, GError **error)
{
    g_auto(GStrv) names = g_key_file_get_keys(file, NETWORK_MAP, NULL, NULL);
    self->network_map = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (char **name = names; name != NULL && *name != NULL; name++) {
        g_autofree char *value = g_key_file_get_string(file, NETWORK_MAP, *name, NULL);
        bool all = strcmp(*name, "*") == 0;
        if (value == NULL || (!all && !virt_network_is_valid(*name)))
            return bad(error, NETWORK_MAP, *name, value != NULL ? value : "", "a key network/NAME, bridge/NAME or *");
        g_strstrip(value);
        if (!virt_network_is_valid(value))
            return bad(error, NETWORK_MAP, *name, value, "network/NAME or bridge/NAME of this host, or none");
        g_hash_table_insert(self->network_map, all ? g_strdup(*name) : full_network(*name), g_steal_pointer(&value));
    }
    return true;
}

static bool
is_system_uri(const char *uri)
{
    g_autofree char *path = NULL;
    return g_uri_split(uri, G_URI_FLAGS_NONE, NULL, NULL, NULL, NULL, &path, NULL, NULL, NULL) && strcmp(path, "/system") == 0;
}

/* What distributions build libvirt with; (nullable). */
static const char *
usual_qemu_user(void)
{
    static const char *const names[] = { "libvirt-qemu", "qemu" };
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        if (getpwnam(names[i]) != NULL)
            return names[i];
    }
    return NULL;
}

Config *
config_load(const char *path, GError **error)
{
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(Config) self = g_new0(Config, 1);
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, error) || !refuse_unknown(file, error) ||
        !read_keys(self, file, error) || !read_network_map(self, file, error)) {
        g_prefix_error(error, "configuration '%s': ", path);
        return NULL;
    }
    if (self->host_name == NULL)
        self->host_name = g_strdup(g_get_host_name());
    if (self->qemu_user == NULL && is_system_uri(self->uri))
        self->qemu_user = g_strdup(usual_qemu_user());
    return g_steal_pointer(&self);
}

static bool
check_file(const char *what, const char *path, GError **error)
{
    if (access(path, R_OK) == 0)
        return true;
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOENT, "%s '%s' is missing or cannot be read", what, path);
    return false;
}

static bool
check_reach(const char *what, const char *user, const char *folder, GError **error)
{
    if (reach_check(user, folder, error))
        return true;
    g_prefix_error(error, "%s: ", what);
    return false;
}

bool
config_check_places(const Config *self, GError **error)
{
    return check_reach("[paths] scratch", self->qemu_user, self->scratch, error);
}

bool
config_check(const Config *self, GError **error)
{
    return check_file("[replication] ca", self->ca, error) &&
           check_file("[replication] certificate", self->certificate, error) &&
           check_file("[replication] key", self->key, error) &&
           (!self->api_https || (check_file("[api] certificate", self->api_certificate, error) &&
                                 check_file("[api] key", self->api_key, error) &&
                                 check_file("[api] password-file", self->password_file, error)));
}

void
config_free(Config *self)
{
    if (self == NULL)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (keys[i].kind == KEY_TEXT || keys[i].kind == KEY_PATH)
            g_free(*(char **)(void *)((char *)self + keys[i].offset));
    }
    if (self->network_map != NULL)
        g_hash_table_unref(self->network_map);
    g_free(self);
}
