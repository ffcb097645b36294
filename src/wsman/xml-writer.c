#include "wsman/xml-writer.h"

XmlWriter *
xml_writer_new(void)
{
    XmlWriter *self = g_new0(XmlWriter, 1);

    self->out = g_string_sized_new(4096);
    self->open_names = g_ptr_array_new_with_free_func(g_free);
    return self;
}

void
xml_writer_free(XmlWriter *self)
{
    if (self == NULL)
        return;
    if (self->out != NULL)
        g_string_free(self->out, TRUE);
    g_ptr_array_free(self->open_names, TRUE);
    g_free(self);
}

char *
xml_writer_finish(XmlWriter *self)
{
    g_assert(self->open_names->len == 0 && !self->in_tag);
    return g_string_free(g_steal_pointer(&self->out), FALSE);
}

static void
end_tag(XmlWriter *self)
{
    if (self->in_tag)
        g_string_append_c(self->out, '>');
    self->in_tag = false;
}

static bool
allowed_in_xml(gunichar c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0xd7ff) || (c >= 0xe000 && c <= 0xfffd) || c >= 0x10000;
}

/* White space is written as references in attributes, or a parser makes blanks of it; "\r" also in text. */
static void
append_escaped(GString *out, const char *text, bool attribute)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    for (const char *p = valid; *p != '\0'; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        if (c == '&')
            g_string_append(out, "&amp;");
        else if (c == '<')
            g_string_append(out, "&lt;");
        else if (c == '>')
            g_string_append(out, "&gt;");
        else if (c == '"' && attribute)
            g_string_append(out, "&quot;");
        else if (c == '\r' || (attribute && (c == '\n' || c == '\t')))
            g_string_append_printf(out, "&#%u;", c);
        else
            g_string_append_unichar(out, allowed_in_xml(c) ? c : 0xfffd);
    }
}

void
xml_open(XmlWriter *self, const char *name)
{
    end_tag(self);
    g_string_append_printf(self->out, "<%s", name);
    g_ptr_array_add(self->open_names, g_strdup(name));
    self->in_tag = true;
}

void
xml_attribute(XmlWriter *self, const char *name, const char *value)
{
    g_assert(self->in_tag);
    g_string_append_printf(self->out, " %s=\"", name);
    append_escaped(self->out, value, true);
    g_string_append_c(self->out, '"');
}

void
xml_text(XmlWriter *self, const char *text)
{
    end_tag(self);
    append_escaped(self->out, text, false);
}

void
xml_raw(XmlWriter *self, const char *xml)
{
    end_tag(self);
    g_string_append(self->out, xml);
}

void
xml_close(XmlWriter *self)
{
    const char *name = g_ptr_array_index(self->open_names, self->open_names->len - 1);

    if (self->in_tag)
        g_string_append(self->out, "/>");
    else
        g_string_append_printf(self->out, "</%s>", name);
    self->in_tag = false;
    g_ptr_array_set_size(self->open_names, (int)self->open_names->len - 1);
}

void
xml_element(XmlWriter *self, const char *name, const char *text)
{
    xml_open(self, name);
    if (text != NULL)
        xml_text(self, text);
    xml_close(self);
}
