/* allow-list: which parts of a domain XML are copied as they are, and the copying.
 *
 * A rule names an element, its attributes and children that may pass, and what their values may look like. What has
 * no rule does not pass, and is noted. Pure functions over libxml2 trees; safe from any thread.
 *
 * A value pattern is a list of words ("yes|no") or one of
 *   #number  up to 19 decimal digits, a sign allowed     #hex    0x and up to 8 digits, or decimal
 *   #word    letters, digits and _.+- (64 at most)       #label  as #word with blanks and :()/ (128 at most)
 *   #mac     a MAC address                               #cpus   a set of CPU numbers
 *   #zone    the name of a time zone
 */
#pragma once

#include "virt/domxml.h"

typedef struct {
    const char *name;
    const char *pattern;
} AllowedAttr;

typedef struct AllowedElement AllowedElement;
struct AllowedElement {
    const char           *name;
    const char           *text;     /* pattern of its content; NULL: none */
    const AllowedAttr    *attrs;    /* ended by a NULL name; NULL: none */
    const AllowedElement *children; /* ended by a NULL name; NULL: none */
    bool                  needs_kvm; /* left out of a domain that QEMU emulates */
};

/* Elements straight below <domain>, and below <devices>, that are copied by rule alone. */
extern const AllowedElement allowed_in_domain[];
extern const AllowedElement allowed_in_devices[];
/* Parts of devices whose other parts are made here; those of a disk, an interface, a port, a random number source, a TPM. */
extern const AllowedElement allowed_in_disk[];
extern const AllowedElement allowed_in_interface[];
extern const AllowedElement allowed_in_port[];
extern const AllowedElement allowed_in_rng[];
extern const AllowedElement allowed_in_tpm[];
extern const AllowedElement allowed_in_os[];

bool allow_value(const char *pattern, const char *value);

/* What was left out: a set of at most 100 names like "devices/hostdev", strings owned by the table. */
typedef GHashTable LeftOut;
void left_out_note(LeftOut *left_out, const char *where, const char *name);

/* Copies those children of @from that a rule in @rules (ended by a NULL name) lets pass. @where is the path of @from. */
void allow_children(xmlNode *to, const xmlNode *from, const AllowedElement *rules, bool kvm, const char *where,
                    LeftOut *left_out);
/* Copies one element by the rule of its name. Returns: the copy, NULL when it has no rule or its content is refused. */
xmlNode *allow_element(xmlNode *to, const xmlNode *node, const AllowedElement *rules, bool kvm, const char *where,
                       LeftOut *left_out);
