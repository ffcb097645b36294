#include "daemon/ports.h"

#include <unistd.h>

#include "util/durable.h"
#include "util/log.h"

struct Ports {
    GMutex      lock;
    char       *path;
    GHashTable *ports; /* name -> port */
};

Ports *
ports_new(const char *run_folder)
{
    Ports *self = g_new0(Ports, 1);
    g_mutex_init(&self->lock);
    self->path = g_build_filename(run_folder, "ports", NULL);
    self->ports = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return self;
}

void
ports_free(Ports *self)
{
    if (self == NULL)
        return;
    unlink(self->path);
    g_free(self->path);
    g_hash_table_unref(self->ports);
    g_mutex_clear(&self->lock);
    g_free(self);
}

static void
append_line(gpointer name, gpointer port, gpointer text)
{
    g_string_append_printf(text, "%s=%u\n", (const char *)name, GPOINTER_TO_UINT(port));
}

void
ports_set(Ports *self, const char *name, unsigned port)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GString) text = g_string_new(NULL);
    g_mutex_lock(&self->lock);
    if (port != 0)
        g_hash_table_insert(self->ports, g_strdup(name), GUINT_TO_POINTER(port));
    else
        g_hash_table_remove(self->ports, name);
    g_hash_table_foreach(self->ports, append_line, text);
    if (!durable_replace(self->path, text->str, text->len, &error))
        log_warning("daemon", NULL, "%s; continuing", error->message);
    g_mutex_unlock(&self->lock);
}
