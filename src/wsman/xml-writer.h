/* xml-writer: builds XML text piece by piece, with prefixes as the caller writes them.
 *
 * Text and attribute values are escaped; bytes that are not UTF-8 and characters that XML forbids become U+FFFD, so that what
 * comes out is always well-formed. Names are trusted.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    GString   *out;
    GPtrArray *open_names; /* char*, innermost last */
    bool       in_tag;     /* "<name attr..." without its ">" yet */
} XmlWriter;

XmlWriter *xml_writer_new(void);
void       xml_writer_free(XmlWriter *self);
char      *xml_writer_finish(XmlWriter *self); /* the text, owned by the caller; every element must be closed */

void xml_open(XmlWriter *self, const char *name);
void xml_attribute(XmlWriter *self, const char *name, const char *value); /* right after xml_open */
void xml_text(XmlWriter *self, const char *text);
void xml_raw(XmlWriter *self, const char *xml); /* well-formed content, as it is */
void xml_close(XmlWriter *self);
void xml_element(XmlWriter *self, const char *name, const char *text); /* @text NULL: empty */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(XmlWriter, xml_writer_free)
