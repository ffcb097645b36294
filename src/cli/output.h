/* output: what a command prints: tables, records, JSON. Goes to standard output, control characters made harmless. */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- tables: columns as wide as their widest cell ---- */
typedef struct OutputTable OutputTable;

OutputTable *output_table_new(const char *const *titles); /* NULL at the end */
void         output_table_free(OutputTable *self);
void         output_table_add(OutputTable *self, const char *cell); /* the next cell, row by row; NULL shows as "-" */
char        *output_table_text(const OutputTable *self);
void         output_table_print(const OutputTable *self);

/* One "Name:   value" line; NULL shows as "-". */
void output_field(const char *name, const char *value);

/* Text from elsewhere without control characters, so that a name cannot steer a terminal. */
char *output_clean(const char *text);

/* ---- JSON ---- */
void output_json_string(JsonBuilder *builder, const char *name, const char *value); /* NULL: null */
void output_json_number(JsonBuilder *builder, const char *name, int64_t value);
void output_json_flag(JsonBuilder *builder, const char *name, bool value);
void output_json_strings(JsonBuilder *builder, const char *name, const GPtrArray *values); /* of char* */
void output_json_print(JsonBuilder *builder); /* what was built, indented, with a line end */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(OutputTable, output_table_free)
