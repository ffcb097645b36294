/* link-wire: the texts that travel between link-client and link-server, and the checks of their form.
 *
 * Paths, all under /virt-replica/v1/ (the version is part of the path: another one is another path):
 *   GET    hello                              -> {"host": NAME}
 *   POST   relationships/UUID                 offer  -> position
 *   PUT    relationships/UUID                 offer  -> position
 *   GET    relationships/UUID[?vm=runs]              -> position; the VM runs on the asking host
 *   DELETE relationships/UUID                        -> {}
 *   POST   relationships/UUID/logs/POSITION   a change log, or its rest -> position
 *   GET    relationships/UUID/hashes/DISK?offset=BYTES&length=BYTES  -> hex digits of the hashes, text/plain
 *   POST   relationships/UUID/role/check      offer  -> position: would its sender be taken as the new primary?
 *   POST   relationships/UUID/role/reverse    offer  -> position; the former primary is a replica from then on
 *   POST   relationships/UUID/role/keep              -> position; the primary has taken back its planned failover
 *   GET    relationships/UUID/changes/DISK?offset=BYTES&length=BYTES -> hex digits of a bitmap, text/plain
 *
 * offer     {"name", "lineage", "domain_xml", "settings", "primary_host", "memory_bytes", "disks": [{"id", "size_bytes"}]}
 * position  {"state", "lineage", "initial_complete", "position", "applied", "digest": 64 hex digits, "pass_token"}
 *           and, while a log comes in or its stream broke:
 *           {"receiving", "partial_id", "partial_bytes", "partial_records"}
 *           while it is failed over and the VM runs: {"vm_runs"}; and in the answer to a reversal: {"changes_known"}
 *           and for a replica on the images of a VM that was there, until its first copy is complete: {"seeded"}
 * error     {"error": TEXT, "code": NAME} with a status that is not 200; names and statuses are in link-wire.c
 *
 * What a log is stands in its own header; position, kind and lineage are repeated outside for logs of proxies and people.
 * A log carries its kind, lineage, age (microseconds), offset and, when it has one, its pass token (percent-encoded) in
 * headers, and comes chunked: only a body with its last chunk is whole. It also carries the random id of its sending.
 * When its stream breaks, the receiver keeps the whole records; the sender learns from GET how many bytes these are, and
 * sends the bytes from there with the same id and that offset. Offset 0 always begins anew.
 *
 * A reversal carries lineage, position and digest (hex) that it starts from in headers.
 */
#pragma once

#include "link/link.h"

#define LINK_PATH            "/virt-replica/v1/"
#define LINK_HEADER_KIND     "X-Log-Kind"
#define LINK_HEADER_LINEAGE  "X-Log-Lineage"
#define LINK_HEADER_AGE      "X-Log-Age-Usec"
#define LINK_HEADER_OFFSET   "X-Log-Offset"
#define LINK_HEADER_TOKEN    "X-Log-Pass-Token"
#define LINK_HEADER_ID       "X-Log-Sending"
#define LINK_HEADER_FROM_LINEAGE  "X-From-Lineage"
#define LINK_HEADER_FROM_POSITION "X-From-Position"
#define LINK_HEADER_FROM_DIGEST   "X-From-Digest"

/* Bytes. A domain XML is some 10 KiB in practice; JSON may write a byte as six. */
#define LINK_DOMAIN_XML_MAX  (1024u * 1024u)
#define LINK_SETTINGS_MAX    (64u * 1024u)
#define LINK_OFFER_MAX       (8u * 1024u * 1024u)
#define LINK_ANSWER_MAX      (64u * 1024u)
#define LINK_TOKEN_MAX       127u

bool link_uuid_valid(const char *text);              /* lower case, with dashes */
bool link_token_valid(const char *text);
bool link_disk_valid(const char *text);              /* as ids in a change log */
bool link_number_parse(const char *text, uint64_t *ret_value); /* decimal digits only, at most INT64_MAX */

/* A digest as 64 hex digits, and back. */
#define LINK_DIGEST_TEXT (2 * CHANGE_LOG_DIGEST_SIZE + 1)
void link_digest_to_text(const uint8_t *digest, char text[LINK_DIGEST_TEXT]);
bool link_digest_parse(const char *text, uint8_t *ret_digest);

unsigned    link_error_status(LinkError code);
/* Any error as {"error", "code"}; one of another domain as LINK_ERROR_FAILED. */
char       *link_error_to_json(const GError *error, LinkError *ret_code);
/* Sets @error from a peer's answer with @status; its text is cleaned and shortened. */
void        link_error_from_answer(unsigned status, GBytes *answer, GError **error);

/* LINK_ERROR_PROTOCOL names the member that is wrong. The VM's UUID travels in the path, not in the text. */
bool  link_offer_check(const LinkOffer *offer, GError **error);
char *link_offer_to_json(const LinkOffer *offer);
bool  link_offer_from_json(GBytes *text, const char *vm_uuid, LinkOffer *ret_offer, GError **error);
char *link_position_to_json(const LinkPosition *position);
bool  link_position_from_json(GBytes *text, LinkPosition *ret_position, GError **error);
/* Hashes as hex digits, and back; @ret_hashes (transfer full), exactly @wanted bytes. */
char *link_hashes_to_text(const GByteArray *hashes);
bool  link_hashes_from_text(GBytes *text, size_t wanted, GByteArray **ret_hashes, GError **error);
/* Bytes of a bitmap for so much of a disk; it travels as hashes do. */
size_t link_changes_size(uint64_t length);
/* Bytes of hashes for so much of a disk. */
size_t link_hashes_size(uint64_t length);
char *link_hello_to_json(const char *host);
bool  link_hello_from_json(GBytes *text, char **ret_host, GError **error);
