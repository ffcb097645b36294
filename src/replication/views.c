/* The copies that callers of the service get: only how they are freed. */
#include "replication/service.h"

void
relationship_view_free(RelationshipView *self)
{
    if (self == NULL)
        return;
    g_free(self->vm_uuid);
    g_free(self->vm_name);
    g_free(self->last_error);
    relationship_settings_free(self->settings);
    g_free(self);
}

void
vm_view_free(VmView *self)
{
    if (self == NULL)
        return;
    g_free(self->uuid);
    g_free(self->name);
    g_free(self->test_vm_uuid);
    g_free(self->replica_vm_uuid);
    for (size_t i = 0; i < G_N_ELEMENTS(self->relationships); i++)
        relationship_view_free(self->relationships[i]);
    g_free(self);
}

void
point_view_free(PointView *self)
{
    if (self == NULL)
        return;
    g_free(self->id);
    g_free(self->vm_uuid);
    g_free(self->vm_name);
    g_free(self->parent_id);
    g_free(self);
}

void
disk_view_free(DiskView *self)
{
    if (self == NULL)
        return;
    g_free(self->target);
    g_free(self->path);
    g_free(self->format);
    g_free(self->bus);
    g_free(self->untrackable);
    g_free(self);
}

void
authorization_entry_free(AuthorizationEntry *self)
{
    if (self == NULL)
        return;
    g_free(self->allowed_primary);
    g_free(self->trust_group);
    g_free(self->storage_location);
    g_free(self->additional_settings);
    g_free(self);
}

void
service_settings_free(ServiceSettings *self)
{
    if (self == NULL)
        return;
    g_free(self->certificate_thumb_print);
    g_free(self);
}

void
health_issue_free(HealthIssue *self)
{
    if (self == NULL)
        return;
    g_free(self->text);
    g_free(self);
}

void
statistics_view_free(StatisticsView *self)
{
    if (self == NULL)
        return;
    if (self->issues != NULL)
        g_ptr_array_unref(self->issues);
    g_free(self);
}

/* ---- adapters ---- */

static char **
no_texts(void)
{
    return g_new0(char *, 1);
}

AdapterView *
adapter_view_new(const char *mac)
{
    AdapterView *self = g_new0(AdapterView, 1);
    self->mac = g_ascii_strdown(mac, -1);
    self->addresses = no_texts();
    self->subnets = no_texts();
    self->gateways = no_texts();
    self->dns = no_texts();
    return self;
}

AdapterView *
adapter_view_copy(const AdapterView *other)
{
    AdapterView *self = g_memdup2(other, sizeof *other);
    char **texts[] = { &self->mac, &self->model, &self->source, &self->test_network, &self->test_pool };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        *texts[i] = g_strdup(*texts[i]);
    char ***lists[] = { &self->addresses, &self->subnets, &self->gateways, &self->dns };
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        *lists[i] = g_strdupv(*lists[i]);
    return self;
}

void
adapter_view_free(AdapterView *self)
{
    if (self == NULL)
        return;
    char *texts[] = { self->mac, self->model, self->source, self->test_network, self->test_pool };
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    char **lists[] = { self->addresses, self->subnets, self->gateways, self->dns };
    for (size_t i = 0; i < G_N_ELEMENTS(lists); i++)
        g_strfreev(lists[i]);
    g_free(self);
}
