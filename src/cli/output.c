#include "cli/output.h"

#include <stdio.h>
#include <string.h>

#define COLUMN_GAP  3
#define FIELD_WIDTH 22

struct OutputTable {
    GPtrArray *titles; /* char*, owned */
    GPtrArray *cells;  /* char*, owned, row by row */
};

char *
output_clean(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *clean = g_string_new(NULL);

    for (const char *at = valid; *at != '\0'; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);

        if (g_unichar_iscntrl(c) || g_unichar_type(c) == G_UNICODE_FORMAT)
            g_string_append_c(clean, '?');
        else
            g_string_append_unichar(clean, c);
    }
    return g_string_free(clean, FALSE);
}

OutputTable *
output_table_new(const char *const *titles)
{
    OutputTable *self = g_new0(OutputTable, 1);

    self->titles = g_ptr_array_new_with_free_func(g_free);
    self->cells = g_ptr_array_new_with_free_func(g_free);
    for (size_t i = 0; titles[i] != NULL; i++)
        g_ptr_array_add(self->titles, g_strdup(titles[i]));
    return self;
}

void
output_table_free(OutputTable *self)
{
    if (self == NULL)
        return;
    g_ptr_array_unref(self->titles);
    g_ptr_array_unref(self->cells);
    g_free(self);
}

void
output_table_add(OutputTable *self, const char *cell)
{
    g_ptr_array_add(self->cells, output_clean(cell != NULL ? cell : "-"));
}

static glong
column_width(const OutputTable *self, guint column)
{
    glong width = g_utf8_strlen(self->titles->pdata[column], -1);

    for (guint i = column; i < self->cells->len; i += self->titles->len)
        width = MAX(width, g_utf8_strlen(self->cells->pdata[i], -1));
    return width;
}

static void
append_row(const OutputTable *self, GString *text, char *const *cells)
{
    for (guint column = 0; column < self->titles->len; column++) {
        glong padding = column_width(self, column) + COLUMN_GAP - g_utf8_strlen(cells[column], -1);

        g_string_append(text, cells[column]);
        if (column + 1 < self->titles->len)
            g_string_append_printf(text, "%*s", (int)padding, "");
    }
    g_string_append_c(text, '\n');
}

char *
output_table_text(const OutputTable *self)
{
    GString *text = g_string_new(NULL);
    glong width = -COLUMN_GAP;

    append_row(self, text, (char *const *)self->titles->pdata);
    for (guint column = 0; column < self->titles->len; column++)
        width += column_width(self, column) + COLUMN_GAP;
    for (glong i = 0; i < width; i++)
        g_string_append_c(text, '-');
    g_string_append_c(text, '\n');
    for (guint i = 0; i + self->titles->len <= self->cells->len; i += self->titles->len)
        append_row(self, text, (char *const *)self->cells->pdata + i);
    return g_string_free(text, FALSE);
}

void
output_table_print(const OutputTable *self)
{
    g_autofree char *text = output_table_text(self);

    fputs(text, stdout);
}

void
output_field(const char *name, const char *value)
{
    g_autofree char *clean = output_clean(value != NULL ? value : "-");
    g_autofree char *label = g_strconcat(name, ":", NULL);

    printf("%-*s %s\n", FIELD_WIDTH, label, clean);
}

void
output_json_string(JsonBuilder *builder, const char *name, const char *value)
{
    json_builder_set_member_name(builder, name);
    if (value != NULL)
        json_builder_add_string_value(builder, value);
    else
        json_builder_add_null_value(builder);
}

void
output_json_number(JsonBuilder *builder, const char *name, int64_t value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, value);
}

void
output_json_flag(JsonBuilder *builder, const char *name, bool value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_boolean_value(builder, value);
}

void
output_json_strings(JsonBuilder *builder, const char *name, const GPtrArray *values)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_array(builder);
    for (guint i = 0; i < values->len; i++)
        json_builder_add_string_value(builder, values->pdata[i]);
    json_builder_end_array(builder);
}

void
output_json_print(JsonBuilder *builder)
{
    g_autoptr(JsonNode) root = json_builder_get_root(builder);
    g_autofree char *text = json_to_string(root, TRUE);

    puts(text);
}
