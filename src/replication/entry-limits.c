#include "replication/entry-limits.h"

#include <string.h>

/* ---- words ---- */

static bool
parse_size(const char *text, uint64_t *ret_bytes)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    guint64 number = g_ascii_strtoull(text, &end, 10);
    const char *unit = *end != '\0' ? strchr(units, g_ascii_toupper(*end)) : NULL;
    uint64_t factor = unit != NULL ? 1ull << (10 * (unit - units + 1)) : 1;
    if (unit != NULL)
        end++;
    if (!g_ascii_isdigit(text[0]) || *end != '\0' || number == 0 || number > G_MAXINT64 / factor)
        return false;
    *ret_bytes = number * factor;
    return true;
}

static bool
bad(const char *key, const char *value, const char *wanted, GError **error)
{
    return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER, "AdditionalSettings: '%s=%s' is not %s", key, value,
                              wanted);
}

static bool
parse_limit(const char *key, const char *value, EntryLimits *limits, GError **error)
{
    static const char size[] = "a size from 1 on, such as 512M, 50G or 2T; leave it out for no limit";
    if (g_ascii_strcasecmp(key, "vms") == 0) {
        guint64 number;
        if (!g_ascii_string_to_unsigned(value, 10, 1, G_MAXINT32, &number, NULL))
            return bad(key, value, "a number from 1 on; leave it out for no limit", error);
        limits->vms = (unsigned)number;
        return true;
    }
    if (g_ascii_strcasecmp(key, "size") == 0)
        return parse_size(value, &limits->size_bytes) || bad(key, value, size, error);
    if (g_ascii_strcasecmp(key, "staging") == 0)
        return parse_size(value, &limits->staging_bytes) || bad(key, value, size, error);
    return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                              "AdditionalSettings: '%s' is unknown for an entry; known are vms, size and staging", key);
}

bool
entry_limits_parse(const char *text, EntryLimits *ret_limits, GError **error)
{
    EntryLimits limits = { 0 };
    g_auto(GStrv) parts = g_strsplit_set(text != NULL ? text : "", ";,", -1);
    for (char **part = parts; *part != NULL; part++) {
        if (*g_strstrip(*part) == '\0')
            continue;
        char *equals = strchr(*part, '=');
        if (equals == NULL)
            return replication_refuse(error, REPLICATION_ERROR_INVALID_PARAMETER,
                                      "AdditionalSettings: '%s' has no value; write KEY=VALUE;KEY=VALUE", *part);
        *equals = '\0';
        if (!parse_limit(g_strstrip(*part), g_strstrip(equals + 1), &limits, error))
            return false;
    }
    *ret_limits = limits;
    return true;
}

/* ---- what is in use ---- */

static EntryLimits
limits_of_entry(ReplicationService *self, const char *allowed_primary)
{
    EntryLimits limits = { 0 };
    g_autoptr(GPtrArray) entries = replication_service_entries(self);
    for (guint i = 0; i < entries->len; i++) {
        const AuthorizationEntry *entry = g_ptr_array_index(entries, i);
        if (g_ascii_strcasecmp(entry->allowed_primary, allowed_primary) == 0)
            entry_limits_parse(entry->additional_settings, &limits, NULL);
    }
    return limits;
}

/* Rows of the replicas that are bound to the entry. */
static GPtrArray *
replicas_of_entry(ReplicationService *self, const char *allowed_primary)
{
    g_autoptr(GPtrArray) members = g_ptr_array_new_with_free_func((GDestroyNotify)member_unref);
    g_mutex_lock(&self->lock);
    GHashTableIter iter;
    gpointer member;
    g_hash_table_iter_init(&iter, self->members);
    while (g_hash_table_iter_next(&iter, NULL, &member)) {
        if (((Member *)member)->replica != NULL)
            g_ptr_array_add(members, member_ref(member));
    }
    g_mutex_unlock(&self->lock);
    GPtrArray *rows = g_ptr_array_new_with_free_func((GDestroyNotify)store_relationship_free);
    for (guint i = 0; i < members->len; i++) {
        g_autoptr(StoreRelationship) row = relationship_row(((Member *)g_ptr_array_index(members, i))->relationship);
        if (row->peer != NULL && !replica_is_awaited(row) && g_ascii_strcasecmp(row->peer, allowed_primary) == 0)
            g_ptr_array_add(rows, g_steal_pointer(&row));
    }
    return rows;
}

/* ---- checks ---- */

static bool
exceeds(ReplicationService *self, const char *allowed_primary, const char *option, const char *what, GError **error)
{
    g_set_error(error, LINK_ERROR, LINK_ERROR_NO_SPACE,
                "the authorization entry for '%s' on host '%s' %s; raise that there with 'virt-replica authorize %s --change %s'",
                allowed_primary, self->context.host_name, what, allowed_primary, option);
    return false;
}

/* @more: bytes that no row has yet */
static bool
check_size(ReplicationService *self, const char *allowed_primary, const EntryLimits *limits, const GPtrArray *rows, uint64_t more,
           GError **error)
{
    uint64_t declared = more;
    for (guint i = 0; i < rows->len; i++)
        declared += ((StoreRelationship *)g_ptr_array_index(rows, i))->declared_bytes;
    if (limits->size_bytes == 0 || declared <= limits->size_bytes)
        return true;
    g_autofree char *wanted = g_format_size_full(declared, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *allowed = g_format_size_full(limits->size_bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *what = g_strdup_printf("allows disks of %s in all, and this would make them %s", allowed, wanted);
    return exceeds(self, allowed_primary, "--max-size SIZE", what, error);
}

static bool
check_number(ReplicationService *self, const char *allowed_primary, const EntryLimits *limits, unsigned number, GError **error)
{
    if (limits->vms == 0 || number <= limits->vms)
        return true;
    g_autofree char *what = g_strdup_printf("allows %u replica VMs, and there are so many", limits->vms);
    return exceeds(self, allowed_primary, "--max-vms N", what, error);
}

bool
entry_limits_check_new(ReplicationService *self, Member *member, GError **error)
{
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    EntryLimits limits = limits_of_entry(self, row->peer);
    g_autoptr(GPtrArray) rows = replicas_of_entry(self, row->peer);
    return check_number(self, row->peer, &limits, rows->len, error) && check_size(self, row->peer, &limits, rows, 0, error);
}

bool
entry_limits_check_turn(ReplicationService *self, const char *allowed_primary, uint64_t bytes, GError **error)
{
    EntryLimits limits = limits_of_entry(self, allowed_primary);
    g_autoptr(GPtrArray) rows = replicas_of_entry(self, allowed_primary);
    return check_number(self, allowed_primary, &limits, rows->len + 1, error) &&
           check_size(self, allowed_primary, &limits, rows, bytes, error);
}

static bool
check_declared(void *opaque, GError **error)
{
    Member *member = opaque;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    EntryLimits limits = limits_of_entry(member->service, row->peer);
    g_autoptr(GPtrArray) rows = replicas_of_entry(member->service, row->peer);
    return check_size(member->service, row->peer, &limits, rows, 0, error);
}

static bool
check_staging(void *opaque, uint64_t wanted, uint64_t *ret_left, GError **error)
{
    Member *member = opaque;
    g_autoptr(StoreRelationship) row = relationship_row(member->relationship);
    EntryLimits limits = limits_of_entry(member->service, row->peer);
    *ret_left = G_MAXUINT64;
    if (limits.staging_bytes == 0)
        return true;
    g_autoptr(GPtrArray) rows = replicas_of_entry(member->service, row->peer);
    uint64_t staged = 0;
    for (guint i = 0; i < rows->len; i++)
        staged += space_staged_bytes(((StoreRelationship *)g_ptr_array_index(rows, i))->folder);
    if (staged <= limits.staging_bytes && limits.staging_bytes - staged >= wanted) {
        *ret_left = limits.staging_bytes - staged;
        return true;
    }
    g_autofree char *allowed = g_format_size_full(limits.staging_bytes, G_FORMAT_SIZE_IEC_UNITS);
    g_autofree char *what = g_strdup_printf("allows %s of logs that wait to be applied, and this is more", allowed);
    return exceeds(member->service, row->peer, "--max-staging SIZE", what, error);
}

ReplicaLimits
entry_limits_of(Member *member)
{
    return (ReplicaLimits){ check_declared, check_staging, member };
}
