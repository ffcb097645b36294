#include "wsman/auth-password.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/log.h"
#include "wsman/auth.h"

typedef struct {
    CimRole role;
    char   *hash;
} PasswordEntry;

struct PasswordFile {
    GMutex      lock;
    char       *path;
    struct stat seen;    /* the file as it was read last */
    GHashTable *entries; /* user -> PasswordEntry; empty while the file is unusable */
    char       *decoy;   /* hash that unknown users are checked against, as costly as the others */
    bool        usable;
    guint       generation;
};

#define FILE_LIMIT (1 << 20)

static const char *const hash_prefixes[] = { "$y$", "$gy$", "$2b$", "$6$" };

static const struct {
    const char *name;
    CimRole     role;
} roles[] = {
    { "administrator", CIM_ROLE_ADMINISTRATOR },
    { "operator", CIM_ROLE_OPERATOR },
    { "reader", CIM_ROLE_READER },
};

static void
entry_free(void *data)
{
    PasswordEntry *self = data;

    g_free(self->hash);
    g_free(self);
}

static CimRole
role_from_name(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(roles); i++) {
        if (g_str_equal(name, roles[i].name))
            return roles[i].role;
    }
    return CIM_ROLE_NONE;
}

static bool
is_strong_hash(const char *hash)
{
    for (guint i = 0; i < G_N_ELEMENTS(hash_prefixes); i++) {
        if (g_str_has_prefix(hash, hash_prefixes[i]))
            return true;
    }
    return false;
}

static bool
parse_line(GHashTable *entries, char *line, const char *path, guint number, GError **error)
{
    g_auto(GStrv) parts = NULL;
    PasswordEntry *entry = NULL;

    g_strstrip(line);
    if (*line == '\0' || *line == '#')
        return true;
    parts = g_strsplit(line, ":", 3);
    if (g_strv_length(parts) != 3 || *parts[0] == '\0' || role_from_name(parts[1]) == CIM_ROLE_NONE ||
        !is_strong_hash(parts[2]) || g_hash_table_contains(entries, parts[0])) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "%s line %u: expected user:role:hash with role administrator, operator "
                    "or reader, a hash as 'mkpasswd -m yescrypt' prints it, and each user once", path, number);
        return false;
    }
    entry = g_new0(PasswordEntry, 1);
    entry->role = role_from_name(parts[1]);
    entry->hash = g_strdup(parts[2]);
    g_hash_table_insert(entries, g_strdup(parts[0]), entry);
    return true;
}

static GHashTable *
parse_file(const char *text, const char *path, GError **error)
{
    g_autoptr(GHashTable) entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (guint i = 0; lines[i] != NULL; i++) {
        if (!parse_line(entries, lines[i], path, i + 1, error))
            return NULL;
    }
    return g_steal_pointer(&entries);
}

/* Text of the file, with its facts from the same descriptor. */
static char *
read_private_file(const char *path, struct stat *ret_facts, GError **error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    g_autofree char *text = NULL;
    ssize_t got = -1;

    if (fd < 0 || fstat(fd, ret_facts) < 0) {
        g_set_error(error, G_FILE_ERROR, (int)g_file_error_from_errno(errno),
                    "%s cannot be read: %s", path, g_strerror(errno));
    } else if (!S_ISREG(ret_facts->st_mode) || ret_facts->st_mode & (S_IROTH | S_IWOTH | S_IXOTH | S_IWGRP)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_PERM,
                    "%s holds passwords and is open to others; run 'chmod 0640' on it", path);
    } else if (ret_facts->st_size > FILE_LIMIT) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "%s is larger than %d bytes", path, FILE_LIMIT);
    } else {
        text = g_malloc0((gsize)ret_facts->st_size + 1);
        got = read(fd, text, (size_t)ret_facts->st_size);
        if (got != ret_facts->st_size)
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_IO, "%s changed or failed while it was read", path);
    }
    if (fd >= 0)
        close(fd);
    return got >= 0 && got == ret_facts->st_size ? g_steal_pointer(&text) : NULL;
}

/* The first user's hash with its salt, or one of our own making when there is no user. */
static char *
make_decoy(GHashTable *entries)
{
    GHashTableIter iter;
    void *value = NULL;

    g_hash_table_iter_init(&iter, entries);
    if (g_hash_table_iter_next(&iter, NULL, &value))
        return g_strdup(((const PasswordEntry *)value)->hash);
    return auth_hash_password("", NULL);
}

static bool
load(PasswordFile *self, GError **error)
{
    struct stat facts = { 0 };
    g_autofree char *text = read_private_file(self->path, &facts, error);
    GHashTable *entries = text != NULL ? parse_file(text, self->path, error) : NULL;

    if (text != NULL)
        explicit_bzero(text, strlen(text));
    self->seen = facts;
    self->generation++;
    self->usable = entries != NULL;
    if (entries == NULL) {
        g_hash_table_remove_all(self->entries);
        return false;
    }
    g_hash_table_unref(self->entries);
    self->entries = entries;
    g_free(self->decoy);
    self->decoy = make_decoy(entries);
    return true;
}

PasswordFile *
password_file_open(const char *path, GError **error)
{
    PasswordFile *self = g_new0(PasswordFile, 1);

    g_mutex_init(&self->lock);
    self->path = g_strdup(path);
    self->entries = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, entry_free);
    if (load(self, error))
        return self;
    password_file_free(self);
    return NULL;
}

void
password_file_free(PasswordFile *self)
{
    if (self == NULL)
        return;
    g_hash_table_unref(self->entries);
    g_free(self->decoy);
    g_free(self->path);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static bool
is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mode == b->st_mode &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

bool
password_file_refresh(PasswordFile *self, guint *ret_generation)
{
    g_autoptr(GError) error = NULL;
    struct stat now = { 0 };
    bool usable = false;

    g_mutex_lock(&self->lock);
    if (stat(self->path, &now) < 0)
        memset(&now, 0, sizeof now);
    if (!is_same_file(&now, &self->seen)) {
        if (load(self, &error))
            log_notice("wsman", NULL, "read the password file %s again, users: %u", self->path, g_hash_table_size(self->entries));
        else
            log_warning("wsman", NULL, "%s; refusing all passwords until it is repaired", error->message);
        self->seen = now; /* also when it could not be opened: once is enough to say so */
    }
    usable = self->usable;
    *ret_generation = self->generation;
    g_mutex_unlock(&self->lock);
    return usable;
}

/* The lengths are no secret: they follow from the hash method. */
static bool
equal_in_constant_time(const char *a, const char *b)
{
    size_t length = strlen(a);
    unsigned difference = 0;

    if (strlen(b) != length)
        return false;
    for (size_t i = 0; i < length; i++)
        difference |= (unsigned char)a[i] ^ (unsigned char)b[i];
    return difference == 0;
}

CimRole
password_file_check(PasswordFile *self, const char *user, const char *password)
{
    g_autofree struct crypt_data *data = g_new0(struct crypt_data, 1);
    g_autofree char *expected = NULL;
    const PasswordEntry *entry = NULL;
    const char *computed = NULL;
    CimRole role = CIM_ROLE_NONE;

    g_mutex_lock(&self->lock);
    entry = g_hash_table_lookup(self->entries, user);
    if (entry != NULL)
        role = entry->role;
    expected = g_strdup(entry != NULL ? entry->hash : self->decoy);
    g_mutex_unlock(&self->lock);

    if (expected != NULL)
        computed = crypt_r(password, expected, data);
    if (computed == NULL || *computed == '*' || !equal_in_constant_time(computed, expected))
        role = CIM_ROLE_NONE;
    explicit_bzero(data, sizeof *data);
    return role;
}

char *
auth_hash_password(const char *password, GError **error)
{
    g_autofree struct crypt_data *data = g_new0(struct crypt_data, 1);
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    const char *hash = NULL;

    if (crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting) != NULL)
        hash = crypt_r(password, setting, data);
    if (hash == NULL || *hash == '*') {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                    "the system cannot make a yescrypt hash: %s", g_strerror(errno));
        return NULL;
    }
    return g_strdup(hash);
}
