/* blob-rules: which blobs a log from another host may have: those that a replica knows how to use, in sensible sizes. Stateless. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define BLOB_DOMAIN "domain.xml"
#define BLOB_NVRAM  "nvram"

/* LINK_ERROR_PROTOCOL names what is wrong. @length: bytes; 0 where the blob is absent */
bool blob_rules_check(const char *name, uint64_t length, GError **error);
