/* link: change logs and agreements between two hosts, over HTTPS with certificates on both sides (TLS 1.3).
 *
 * Carries; decides nothing. The receiving side hands each request to LinkServerOps together with the names in the peer's
 * certificate; what a peer may do is decided there. Text and numbers from a peer are checked for form and size here.
 */
#pragma once

#include "changelog/changelog.h"
#include "http/http-client.h"
#include "http/http-server.h"

typedef enum {
    LINK_ERROR_UNREACHABLE, /* wait and retry: nothing was changed */
    LINK_ERROR_TRUST,       /* certificate of the other side not accepted, by us or by them */
    LINK_ERROR_DENIED,      /* the peer has no authorization entry for us, or the relationship is not ours */
    LINK_ERROR_STATE,       /* the peer is in a state that refuses this now (failed over, suspended, busy) */
    LINK_ERROR_MISFIT,      /* our log does not continue the peer's history: ask for its position */
    LINK_ERROR_PROTOCOL,    /* nonsense on the wire, or another version */
    LINK_ERROR_NO_SPACE,    /* staging or storage of the peer is full */
    LINK_ERROR_FAILED,      /* the peer failed; text is the peer's */
} LinkError;
#define LINK_ERROR (link_error_quark())
GQuark link_error_quark(void);

typedef struct {
    char   *vm_uuid, *vm_name;
    char   *lineage;
    char   *domain_xml;
    char   *settings;      /* relationship settings as one JSON text, opaque here */
    char   *primary_host;  /* name the primary calls itself; display only */
    uint64_t memory_bytes;
    bool     extended;     /* the sender is a replica itself */
    unsigned n_disks;
    ChangeLogDisk disks[CHANGE_LOG_DISKS_MAX];
} LinkOffer;
void link_offer_clear(LinkOffer *offer);

typedef struct {
    unsigned state;        /* the receiver's ReplicationState */
    char     lineage[37];  /* empty when it has none */
    bool     initial_complete;
    uint64_t position;     /* newest durable ("received n") */
    uint64_t applied;      /* newest applied */
    uint8_t  digest[CHANGE_LOG_DIGEST_SIZE]; /* END digest of log `position` */
    char     pass_token[128]; /* opaque text the sender stored with the newest initial or resync pass; empty when none */
    /* What is kept of a log whose stream broke: whole, checked records only. */
    bool     receiving;       /* a stream is open there, or its break was not noticed yet: ask again */
    char     partial_id[37];  /* of which sending; empty when nothing is kept */
    uint64_t partial_bytes;   /* where that sending goes on */
    uint64_t partial_records;
    bool     seeded;          /* its disks hold what a VM there had: the first copy can be compared */
    bool     vm_runs;         /* failed over, and the VM runs there */
    char     disk_set[33];    /* disk_set_digest() of the disks that it replicates; empty when it does not tell */
    bool     changes_known;   /* in the answer to a reversal only: link_client_changes() can be asked */
} LinkPosition;

/* The replica of a VM wants to be its primary, and the former primary to be the replica. */
typedef struct {
    LinkOffer offer;             /* of the new primary, with the lineage that begins */
    char      from_lineage[37];  /* the one that both sides have */
    uint64_t  from_position;     /* newest of it that the new primary's disks began from */
    uint8_t   from_digest[CHANGE_LOG_DIGEST_SIZE];
    bool      check_only;        /* would it be taken? changes nothing */
} LinkReversal;

/* ---- sending side; one thread at a time ---- */
typedef struct LinkClient LinkClient;
LinkClient *link_client_new(const HttpClientConfig *config, GError **error);
void        link_client_free(LinkClient *self);
/* Is a replica server there that accepts us? @ret_host (nullable): its name */
bool        link_client_hello(LinkClient *self, char **ret_host, GError **error);
bool        link_client_offer(LinkClient *self, const LinkOffer *offer, LinkPosition *ret_position, GError **error);
/* New settings or domain XML for an existing relationship */
bool        link_client_update(LinkClient *self, const LinkOffer *offer, LinkPosition *ret_position, GError **error);
/* @vm_runs: whether the VM is known to run on this host */
bool        link_client_position(LinkClient *self, const char *vm_uuid, bool vm_runs, LinkPosition *ret_position, GError **error);
/* The last changes before a planned failover, which the peer has, are the last no more: it must not count on our VM being off. LINK_ERROR_STATE
 * when it is failed over there, or about to be. */
bool        link_client_keep_role(LinkClient *self, const char *vm_uuid, LinkPosition *ret_position, GError **error);
bool        link_client_remove(LinkClient *self, const char *vm_uuid, GError **error);
/* Hashes of the peer's copy: LINK_HASH_SIZE bytes for each CHANGE_LOG_GRAIN of [offset, offset + length), the last grain as long as the
 * disk allows. @length at most LINK_HASHED_MAX. LINK_ERROR_STATE while logs wait to be applied there. */
#define LINK_HASH_SIZE  16u                     /* bytes; the first of a SHA-256: the guest chooses the data */
#define LINK_HASHED_MAX (64u * 1024u * 1024u)   /* bytes of disk in one question */
bool        link_client_hashes(LinkClient *self, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
                               GByteArray **ret_hashes, GError **error);

bool        link_client_reverse(LinkClient *self, const LinkReversal *reversal, LinkPosition *ret_position, GError **error);
/* What the peer, a former primary, has written to a disk since the position of its answer to the reversal: a bit for each CHANGE_LOG_GRAIN
 * of [offset, offset + length), the first in the lowest bit of the first byte. @length at most LINK_CHANGES_MAX. */
#define LINK_CHANGES_MAX (8ull * 1024 * 1024 * 1024) /* bytes of disk in one question */
bool        link_client_changes(LinkClient *self, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
                                GByteArray **ret_bits, GError **error);

/* The sending of one log, in one stream or, when that breaks, in several. Each sending has a random id, so that bytes of
 * two of them cannot be taken for one log. Its client must outlive it. */
typedef struct LinkUpload LinkUpload;
/**
 * link_client_send_log:
 * @captured_monotonic_usec: g_get_monotonic_time() of the capture; the peer is sent an age, in a trailer-free way: as age at begin of the upload
 * @pass_token: (nullable): kept by the receiver with an initial or resync pass once it is durable
 */
LinkUpload   *link_client_send_log(LinkClient *self, const char *vm_uuid, const ChangeLogHeader *header,
                                   int64_t captured_monotonic_usec, const char *pass_token, GError **error);
ChangeLogSink link_upload_sink(LinkUpload *self);
const char   *link_upload_id(const LinkUpload *self);
/* After a call that failed: a new stream, from byte @offset of the log on, with what was written from there; also what the
 * first failed write was given counts as written. May be tried any number of times. LINK_ERROR_MISFIT when @offset is
 * further behind than LINK_RESEND_MAX, or was never written: then this sending is over. */
#define LINK_RESEND_MAX (32u * 1024u * 1024u) /* bytes; socket buffers of both hosts, and the largest record (a blob) */
bool          link_upload_resume(LinkUpload *self, uint64_t offset, GError **error);
/* Ends the stream and waits for the acknowledgement: the log is durable on the other side. */
bool          link_upload_finish(LinkUpload *self, LinkPosition *ret_position, GError **error);
void          link_upload_free(LinkUpload *self);
uint64_t      link_upload_sent(const LinkUpload *self); /* in all streams */

/* ---- receiving side ---- */
typedef struct {
    const char *const *names; /* names in the peer's verified certificate, NULL at the end */
    const char *address;
} LinkPeer;

typedef struct {
    int64_t     age_usec;   /* of the capture when the stream began */
    const char *pass_token; /* (nullable) */
    const char *id;         /* (nullable): of the sending; without one it cannot go on in another stream */
    uint64_t    resume_at;  /* byte of the log where this stream starts; 0: what is kept of a log is void */
} LinkStream;

/* Called on server threads. An error in LINK_ERROR travels to the peer with its code and text; any other as LINK_ERROR_FAILED. */
typedef struct {
    void *opaque;
    bool (*hello)(void *opaque, const LinkPeer *peer, char **ret_host, GError **error);
    bool (*offer)(void *opaque, const LinkPeer *peer, const LinkOffer *offer, bool update, LinkPosition *ret_position, GError **error);
    bool (*position)(void *opaque, const LinkPeer *peer, const char *vm_uuid, bool vm_runs, LinkPosition *ret_position, GError **error);
    bool (*receive)(void *opaque, const LinkPeer *peer, const char *vm_uuid, ChangeLogSource log,
                    const LinkStream *stream, LinkPosition *ret_position, GError **error);
    bool (*hashes)(void *opaque, const LinkPeer *peer, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
                   GByteArray *hashes, GError **error);
    bool (*remove)(void *opaque, const LinkPeer *peer, const char *vm_uuid, GError **error);
    bool (*reverse)(void *opaque, const LinkPeer *peer, const LinkReversal *reversal, LinkPosition *ret_position, GError **error);
    bool (*keep_role)(void *opaque, const LinkPeer *peer, const char *vm_uuid, LinkPosition *ret_position, GError **error);
    bool (*changes)(void *opaque, const LinkPeer *peer, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
                    GByteArray *bits, GError **error);
} LinkServerOps;

typedef struct LinkServer LinkServer;
/* @config must ask for client certificates and TLS 1.3 only; refused otherwise. */
LinkServer *link_server_start(const HttpServerConfig *config, const LinkServerOps *ops, GError **error);
void        link_server_stop(LinkServer *self);
uint16_t    link_server_port(const LinkServer *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(LinkClient, link_client_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LinkUpload, link_upload_free)
