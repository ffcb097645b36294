/* Both sides of a link over real TLS, and a peer that means harm. */
#include "link/link-wire.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VM      "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
#define LINEAGE "11111111-2222-3333-4444-555555555555"
#define OTHER_LINEAGE "99999999-2222-3333-4444-555555555555"
#define BASE    "/virt-replica/v1/"

static char *folder, *program;

static struct {
    GMutex   lock;
    GCond    changed;
    int      error_code; /* the next operation fails with it; -1: none */
    bool     skip_log;   /* receive answers without reading */
    unsigned refuse_after; /* receive fails after that many bytes of a stream; 0: never */
    int      refuse_code;
    bool     keeps;      /* what streams brought is joined: the log of several */
    unsigned calls;      /* operations that were reached */
    GByteArray *log;
    char    *read_error; /* of the newest receive; "" after a clean end */
    char    *token, *id;
    uint64_t resume_at;
    int64_t  age_usec;
    LinkOffer offer;
    bool     update, vm_runs;
} seen;

static bool
enter(const LinkPeer *peer, GError **error)
{
    seen.calls++;
    g_assert_cmpstr(peer->names[0], ==, "p.example");
    g_assert_cmpstr(peer->address, ==, "127.0.0.1");
    if (seen.error_code < 0)
        return true;
    g_set_error(error, LINK_ERROR, seen.error_code, "reason %d\nwith \"quotes\"", seen.error_code);
    return false;
}

static void
fill_position(LinkPosition *position)
{
    *position = (LinkPosition){ .state = 3, .lineage = LINEAGE, .initial_complete = true, .position = 7, .applied = 6,
                                .digest = { 0xab, 1 }, .pass_token = "pass \"1\"" };
}

static bool
op_hello(void *opaque, const LinkPeer *peer, char **ret_host, GError **error)
{
    if (!enter(peer, error))
        return false;
    *ret_host = g_strdup("r.example");
    return true;
}

static bool
op_offer(void *opaque, const LinkPeer *peer, const LinkOffer *offer, bool update, LinkPosition *ret_position, GError **error)
{
    if (!enter(peer, error))
        return false;
    link_offer_clear(&seen.offer);
    seen.offer = *offer;
    seen.offer.vm_uuid = g_strdup(offer->vm_uuid);
    seen.offer.vm_name = g_strdup(offer->vm_name);
    seen.offer.lineage = g_strdup(offer->lineage);
    seen.offer.domain_xml = g_strdup(offer->domain_xml);
    seen.offer.settings = g_strdup(offer->settings);
    seen.offer.primary_host = g_strdup(offer->primary_host);
    seen.update = update;
    fill_position(ret_position);
    return true;
}

static bool
op_position(void *opaque, const LinkPeer *peer, const char *vm_uuid, bool vm_runs, LinkPosition *ret_position, GError **error)
{
    if (!enter(peer, error))
        return false;
    g_assert_cmpstr(vm_uuid, ==, VM);
    seen.vm_runs = vm_runs;
    fill_position(ret_position);
    return true;
}

static bool
op_remove(void *opaque, const LinkPeer *peer, const char *vm_uuid, GError **error)
{
    g_assert_cmpstr(vm_uuid, ==, VM);
    return enter(peer, error);
}

static void
report_read(const char *text)
{
    g_mutex_lock(&seen.lock);
    g_free(seen.read_error);
    seen.read_error = g_strdup(text);
    g_cond_broadcast(&seen.changed);
    g_mutex_unlock(&seen.lock);
}

static bool
op_receive(void *opaque, const LinkPeer *peer, const char *vm_uuid, ChangeLogSource log, const LinkStream *stream,
           LinkPosition *ret_position, GError **error)
{
    if (!enter(peer, error))
        return false;
    g_free(seen.token);
    seen.token = g_strdup(stream->pass_token);
    g_free(seen.id);
    seen.id = g_strdup(stream->id);
    seen.resume_at = stream->resume_at;
    seen.age_usec = stream->age_usec;
    if (seen.keeps)
        g_assert_cmpuint(stream->resume_at, <=, seen.log->len);
    g_byte_array_set_size(seen.log, seen.keeps ? (guint)stream->resume_at : 0);
    guint before = seen.log->len;
    uint8_t buffer[10000];
    ssize_t got = 0;
    while (!seen.skip_log && (got = log.read(log.opaque, buffer, sizeof buffer, error)) > 0) {
        g_byte_array_append(seen.log, buffer, (unsigned)got);
        if (seen.refuse_after != 0 && seen.log->len - before >= seen.refuse_after) {
            g_set_error(error, LINK_ERROR, seen.refuse_code, "another lineage");
            return false;
        }
    }
    report_read(got < 0 ? (*error)->message : "");
    if (got < 0)
        return false;
    fill_position(ret_position);
    return true;
}

static bool
op_reverse(void *opaque, const LinkPeer *peer, const LinkReversal *reversal, LinkPosition *ret_position, GError **error)
{
    if (!enter(peer, error))
        return false;
    g_assert_cmpstr(reversal->offer.vm_uuid, ==, VM);
    g_assert_cmpstr(reversal->from_lineage, ==, OTHER_LINEAGE);
    g_assert_cmpuint(reversal->from_position, ==, 41);
    g_assert_cmphex(reversal->from_digest[31], ==, 0xc4);
    fill_position(ret_position);
    ret_position->changes_known = !reversal->check_only;
    return true;
}

static bool
op_keep_role(void *opaque, const LinkPeer *peer, const char *vm_uuid, LinkPosition *ret_position, GError **error)
{
    if (!enter(peer, error))
        return false;
    g_assert_cmpstr(vm_uuid, ==, VM);
    fill_position(ret_position);
    return true;
}

static bool
op_changes(void *opaque, const LinkPeer *peer, const char *vm_uuid, const char *disk, uint64_t offset, uint64_t length,
           GByteArray *bits, GError **error)
{
    if (!enter(peer, error))
        return false;
    g_assert_cmpstr(disk, ==, "vda");
    g_assert_cmpuint(offset, ==, 8 * CHANGE_LOG_GRAIN);
    guint8 bytes[] = { 0x81, 0x03 };
    g_byte_array_append(bits, bytes, (guint)link_changes_size(length));
    return true;
}

static const LinkServerOps ops = { .hello = op_hello, .offer = op_offer, .position = op_position,
                                   .receive = op_receive, .remove = op_remove, .reverse = op_reverse,
                                   .keep_role = op_keep_role, .changes = op_changes };

static char *
file(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

static LinkServer *
start(const LinkServerOps *with)
{
    g_autofree char *pem = file("r.example.pem"), *key = file("r.example-key.pem"), *ca = file("ca.pem");
    HttpServerConfig config = { .address = "127.0.0.1", .certificate_file = pem, .key_file = key, .client_ca_file = ca,
                                .require_client_certificate = true, .tls13_only = true };
    g_autoptr(GError) error = NULL;
    LinkServer *server = link_server_start(&config, with, &error);
    g_assert_no_error(error);
    seen.error_code = -1;
    seen.skip_log = false;
    seen.refuse_after = 0;
    seen.refuse_code = LINK_ERROR_MISFIT;
    seen.keeps = false;
    seen.calls = 0;
    g_clear_pointer(&seen.read_error, g_free);
    return server;
}

/* A client's configuration, whose texts live as long as the program. */
static HttpClientConfig
client_config(uint16_t port)
{
    static char *pem, *key, *ca;
    if (pem == NULL) {
        pem = file("p.example.pem");
        key = file("p.example-key.pem");
        ca = file("ca.pem");
    }
    return (HttpClientConfig){ .host = "localhost", .port = port, .tls = true, .ca_file = ca, .certificate_file = pem,
                               .key_file = key, .stall_timeout_sec = 10 };
}

static LinkClient *
client_new(uint16_t port)
{
    HttpClientConfig config = client_config(port);
    g_autoptr(GError) error = NULL;
    LinkClient *client = link_client_new(&config, &error);
    g_assert_no_error(error);
    return client;
}

static LinkOffer
sample_offer(void)
{
    return (LinkOffer){ .vm_uuid = (char *)VM, .vm_name = (char *)"böse \"vm\"", .lineage = (char *)LINEAGE,
                        .domain_xml = (char *)"<domain>\n\t<name>x</name></domain>", .settings = (char *)"{\"a\": [1]}",
                        .primary_host = (char *)"p.example", .memory_bytes = 1ull << 40, .n_disks = 2,
                        .disks = { { "vda", 1 << 20 }, { "sd.b-1", 1ull << 50 } } };
}

static void
check_position(const LinkPosition *position)
{
    LinkPosition want;
    fill_position(&want);
    g_assert_cmpmem(position, sizeof *position, &want, sizeof want);
}

static void
test_reversal(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    g_autoptr(GError) error = NULL;
    g_autoptr(GByteArray) bits = NULL;
    LinkReversal reversal = { .offer = sample_offer(), .from_lineage = OTHER_LINEAGE, .from_position = 41 };
    LinkPosition position;
    reversal.from_digest[31] = 0xc4;
    for (int check = 0; check < 2; check++) {
        reversal.check_only = check != 0;
        link_client_reverse(client, &reversal, &position, &error);
        g_assert_no_error(error);
        g_assert_true(position.changes_known == !reversal.check_only);
    }
    link_client_changes(client, VM, "vda", 8 * CHANGE_LOG_GRAIN, 10 * CHANGE_LOG_GRAIN, &bits, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(bits->len, ==, 2);
    g_assert_cmphex(bits->data[0], ==, 0x81);
    g_assert_false(link_client_changes(client, VM, "vda", 0, LINK_CHANGES_MAX + 1, &bits, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL);
    g_clear_error(&error);
    link_client_keep_role(client, VM, &position, &error);
    g_assert_no_error(error);
    check_position(&position);
    seen.error_code = LINK_ERROR_STATE;
    g_assert_false(link_client_keep_role(client, VM, &position, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_STATE);
    g_clear_error(&error);
    g_assert_false(link_client_reverse(client, &reversal, &position, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_STATE);
    link_server_stop(server);
}

static void
test_round_trips(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    g_autoptr(GError) error = NULL;
    g_autofree char *host = NULL;
    LinkPosition position;
    memset(&position, 0, sizeof position);
    LinkOffer offer = sample_offer();

    link_client_hello(client, &host, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(host, ==, "r.example");
    for (int update = 0; update < 2; update++) {
        memset(&position, 0, sizeof position);
        (update ? link_client_update : link_client_offer)(client, &offer, &position, &error);
        g_assert_no_error(error);
        check_position(&position);
        g_assert_true(seen.update == update);
        g_assert_cmpstr(seen.offer.vm_uuid, ==, offer.vm_uuid);
        g_assert_cmpstr(seen.offer.vm_name, ==, offer.vm_name);
        g_assert_cmpstr(seen.offer.lineage, ==, offer.lineage);
        g_assert_cmpstr(seen.offer.domain_xml, ==, offer.domain_xml);
        g_assert_cmpstr(seen.offer.settings, ==, offer.settings);
        g_assert_cmpstr(seen.offer.primary_host, ==, offer.primary_host);
        g_assert_cmpuint(seen.offer.memory_bytes, ==, offer.memory_bytes);
        g_assert_cmpuint(seen.offer.n_disks, ==, 2);
        g_assert_cmpmem(seen.offer.disks, sizeof seen.offer.disks, offer.disks, sizeof offer.disks);
    }
    memset(&position, 0, sizeof position);
    link_client_position(client, VM, true, &position, &error);
    g_assert_no_error(error);
    g_assert_true(seen.vm_runs);
    check_position(&position);
    link_client_remove(client, VM, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(seen.calls, ==, 5);
    link_server_stop(server);
}

static const ChangeLogHeader log_header = { .kind = CHANGE_LOG_DELTA, .vm_uuid = VM, .lineage = LINEAGE, .base = 6,
                                            .position = 7 };

static void
test_log(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    g_autoptr(GError) error = NULL;
    enum { SIZE = 3000000 };
    g_autofree uint8_t *bytes = g_malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)g_test_rand_int();
    for (int round = 0; round < 2; round++) {
        const char *token = round == 0 ? "t=1; {\"ü\"}" : NULL;
        g_autoptr(LinkUpload) upload = link_client_send_log(client, VM, &log_header, g_get_monotonic_time() - 5000000,
                                                            token, &error);
        g_assert_no_error(error);
        ChangeLogSink sink = link_upload_sink(upload);
        for (int at = 0; at < SIZE; at += 300000) {
            sink.write(sink.opaque, bytes + at, 300000, &error);
            g_assert_no_error(error);
        }
        LinkPosition position;
        memset(&position, 0, sizeof position);
        link_upload_finish(upload, &position, &error);
        g_assert_no_error(error);
        check_position(&position);
        g_assert_cmpmem(seen.log->data, seen.log->len, bytes, SIZE);
        g_assert_cmpstr(seen.token, ==, token);
        g_assert_cmpuint(seen.resume_at, ==, 0);
        g_assert_cmpint(seen.age_usec, >=, 5000000);
        g_assert_cmpint(seen.age_usec, <, 60000000);
        g_assert_cmpuint(link_upload_sent(upload), >=, SIZE);
    }
    link_server_stop(server);
}

/* Streams that break at any place, and the rest from any place that is not too far behind: what arrives is the log. */
static void
test_resumed_log(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    enum { SIZE = 6000000, PIECE = 250000 };
    g_autofree uint8_t *bytes = g_malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)g_test_rand_int();
    g_autoptr(GError) error = NULL;
    g_autoptr(LinkUpload) upload = link_client_send_log(client, VM, &log_header, 0, "token", &error);
    g_assert_no_error(error);
    g_assert_true(link_uuid_valid(link_upload_id(upload)));
    ChangeLogSink sink = link_upload_sink(upload);
    seen.keeps = true;
    unsigned breaks = 0;
    LinkPosition position;
    int at = 0;
    while (true) {
        bool more = at < SIZE;
        seen.refuse_after = breaks < 12 ? (unsigned)g_test_rand_int_range(1, SIZE / 2) : 0;
        seen.refuse_code = LINK_ERROR_UNREACHABLE;
        bool good = more ? sink.write(sink.opaque, bytes + at, PIECE, &error)
                         : link_upload_finish(upload, &position, &error);
        at += more ? PIECE : 0;
        if (good && !more)
            break;
        while (!good) {
            g_assert_error(error, LINK_ERROR, LINK_ERROR_UNREACHABLE);
            g_clear_error(&error);
            g_assert_false(sink.write(sink.opaque, "x", 1, NULL)); /* adds nothing */
            seen.refuse_after = ++breaks < 12 ? (unsigned)g_test_rand_int_range(1, SIZE / 2) : 0;
            uint64_t from = (uint64_t)g_test_rand_int_range(0, (gint32)seen.log->len + 1);
            good = link_upload_resume(upload, from, &error);
        }
    }
    g_assert_cmpuint(breaks, >=, 1);
    g_assert_cmpmem(seen.log->data, seen.log->len, bytes, SIZE);
    g_assert_cmpstr(seen.id, ==, link_upload_id(upload));
    g_assert_cmpstr(seen.token, ==, "token");
    g_assert_cmpuint(link_upload_sent(upload), >=, SIZE);
    link_server_stop(server);
}

/* Neither what was never written nor what is long gone can be sent on from. */
static void
test_resume_too_far(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    g_autoptr(GError) error = NULL;
    g_autoptr(LinkUpload) upload = link_client_send_log(client, VM, &log_header, 0, NULL, &error);
    g_assert_no_error(error);
    ChangeLogSink sink = link_upload_sink(upload);
    enum { PIECE = 1000003, PIECES = 40 };
    g_autofree uint8_t *piece = g_malloc(PIECE);
    uint64_t written = 0;
    seen.refuse_after = PIECE * (PIECES - 1);
    seen.refuse_code = LINK_ERROR_UNREACHABLE;
    for (unsigned i = 0; i < PIECES; i++, written += PIECE) {
        memset(piece, (int)i, PIECE);
        if (!sink.write(sink.opaque, piece, PIECE, NULL)) {
            written += PIECE;
            break;
        }
    }
    LinkPosition position;
    g_assert_false(link_upload_finish(upload, &position, NULL));
    seen.refuse_after = 0;
    const uint64_t wrong[] = { 0, 1, written - LINK_RESEND_MAX - 2 * 1024 * 1024, written + 1, UINT64_MAX };
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_assert_false(link_upload_resume(upload, wrong[i], &error));
        g_assert_error(error, LINK_ERROR, LINK_ERROR_MISFIT);
        g_clear_error(&error);
    }
    uint64_t from = written - LINK_RESEND_MAX;
    link_upload_resume(upload, from, &error);
    g_assert_no_error(error);
    link_upload_finish(upload, &position, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(seen.resume_at, ==, from);
    g_assert_cmpuint(seen.log->len, ==, LINK_RESEND_MAX);
    for (uint64_t i = 0; i < LINK_RESEND_MAX; i += 4099)
        g_assert_cmpuint(seen.log->data[i], ==, (from + i) / PIECE);
    link_server_stop(server);
}

static void
test_partial_position(void)
{
    static const struct { const char *text; bool good; } cases[] = {
        { "", true },
        { ", \"receiving\": true, \"partial_id\": \"\", \"partial_bytes\": 0, \"partial_records\": 0", true },
        { ", \"receiving\": false, \"partial_id\": \"" LINEAGE "\", \"partial_bytes\": 9, \"partial_records\": 1",
          true },
        { ", \"receiving\": 1, \"partial_id\": \"\", \"partial_bytes\": 0, \"partial_records\": 0", false },
        { ", \"receiving\": false", false },
        { ", \"receiving\": false, \"partial_id\": \"x\", \"partial_bytes\": 0, \"partial_records\": 0", false },
        { ", \"receiving\": false, \"partial_id\": \"\", \"partial_bytes\": -1, \"partial_records\": 0", false },
        { ", \"receiving\": false, \"partial_id\": \"\", \"partial_bytes\": 1, \"partial_records\": null", false },
        { ", \"receiving\": false, \"partial_id\": \"\", \"partial_bytes\": 99999999999999999999, \"partial_records\": 0",
          false },
    };
    LinkPosition position;
    fill_position(&position);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = link_position_to_json(&position);
        text[strlen(text) - 1] = '\0';
        g_autofree char *with = g_strconcat(text, cases[i].text, "}", NULL);
        g_autoptr(GBytes) bytes = g_bytes_new(with, strlen(with));
        LinkPosition got;
        g_test_message("%s", cases[i].text);
        g_assert_true(link_position_from_json(bytes, &got, NULL) == cases[i].good);
    }
    g_strlcpy(position.partial_id, LINEAGE, sizeof position.partial_id);
    position.partial_bytes = 1ull << 40;
    position.partial_records = 12345;
    g_autofree char *text = link_position_to_json(&position);
    g_autoptr(GBytes) bytes = g_bytes_new(text, strlen(text));
    LinkPosition got;
    memset(&got, 0, sizeof got);
    g_assert_true(link_position_from_json(bytes, &got, NULL));
    g_assert_cmpstr(got.partial_id, ==, LINEAGE);
    g_assert_cmpuint(got.partial_bytes, ==, 1ull << 40);
    g_assert_cmpuint(got.partial_records, ==, 12345);
    g_assert_false(got.receiving);
}

static void
test_errors(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    LinkPosition position;
    for (int code = LINK_ERROR_UNREACHABLE; code <= LINK_ERROR_FAILED; code++) {
        g_autoptr(GError) error = NULL;
        seen.error_code = code;
        g_assert_false(link_client_position(client, VM, true, &position, &error));
        g_assert_error(error, LINK_ERROR, code);
        g_autofree char *want = g_strdup_printf("reason %d with \"quotes\"", code);
        g_assert_nonnull(strstr(error->message, want));
    }
    link_server_stop(server);
    g_autoptr(GError) error = NULL;
    g_assert_false(link_client_hello(client, NULL, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_UNREACHABLE);
}

/* The reason of a refusal reaches the sender while it still sends, and again at the end. */
static void
test_refused_log(void)
{
    LinkServer *server = start(&ops);
    for (int after = 0; after <= 100000; after += 100000) {
        g_autoptr(LinkClient) client = client_new(link_server_port(server));
        g_autoptr(GError) error = NULL;
        seen.error_code = after == 0 ? LINK_ERROR_MISFIT : -1;
        seen.refuse_after = (unsigned)after;
        g_autoptr(LinkUpload) upload = link_client_send_log(client, VM, &log_header, 0, NULL, &error);
        g_assert_no_error(error);
        ChangeLogSink sink = link_upload_sink(upload);
        g_autofree char *piece = g_malloc0(1 << 20);
        int written = 0;
        while (written < 500 && sink.write(sink.opaque, piece, 1 << 20, &error))
            written++;
        g_assert_cmpint(written, <, 500);
        g_assert_error(error, LINK_ERROR, LINK_ERROR_MISFIT);
        g_clear_error(&error);
        LinkPosition position;
        g_assert_false(link_upload_finish(upload, &position, &error));
        g_assert_error(error, LINK_ERROR, LINK_ERROR_MISFIT);
    }
    link_server_stop(server);
}

/* The receiver must not acknowledge what it did not read to the end. */
static void
test_unread_log(void)
{
    LinkServer *server = start(&ops);
    seen.skip_log = true;
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    g_autoptr(GError) error = NULL;
    g_autoptr(LinkUpload) upload = link_client_send_log(client, VM, &log_header, 0, NULL, &error);
    g_assert_no_error(error);
    ChangeLogSink sink = link_upload_sink(upload);
    LinkPosition position;
    g_assert_false(sink.write(sink.opaque, "abc", 3, &error) && link_upload_finish(upload, &position, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL);
    link_server_stop(server);
}

static void
wait_read(void)
{
    g_mutex_lock(&seen.lock);
    while (seen.read_error == NULL)
        g_cond_wait(&seen.changed, &seen.lock);
    g_mutex_unlock(&seen.lock);
}

static void
test_dropped_log(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    g_autoptr(GError) error = NULL;
    LinkUpload *upload = link_client_send_log(client, VM, &log_header, 0, NULL, &error);
    g_assert_no_error(error);
    ChangeLogSink sink = link_upload_sink(upload);
    sink.write(sink.opaque, "abc", 3, &error);
    g_assert_no_error(error);
    link_upload_free(upload);
    wait_read();
    g_assert_cmpstr(seen.read_error, !=, "");
    link_server_stop(server);
}

/* ---- a second process, to be killed ---- */

static int
upload_and_die(uint16_t port)
{
    LinkClient *client = client_new(port);
    LinkUpload *upload = link_client_send_log(client, VM, &log_header, 0, NULL, NULL);
    ChangeLogSink sink = link_upload_sink(upload);
    static char piece[65536];
    for (int i = 0; i < 10; i++)
        sink.write(sink.opaque, piece, sizeof piece, NULL);
    return raise(SIGKILL);
}

static bool
receive_and_die(void *opaque, const LinkPeer *peer, const char *vm_uuid, ChangeLogSource log, const LinkStream *stream,
                LinkPosition *ret_position, GError **error)
{
    char buffer[65536];
    log.read(log.opaque, buffer, sizeof buffer, error);
    return raise(SIGKILL) != 0;
}

static int
serve_and_die(void)
{
    LinkServerOps deadly = ops;
    deadly.receive = receive_and_die;
    LinkServer *server = start(&deadly);
    g_print("%u\n", link_server_port(server));
    fflush(stdout);
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) /* should the test die before us */
        ;
    link_server_stop(server);
    return 1;
}

static void
test_killed_client(void)
{
    LinkServer *server = start(&ops);
    g_autofree char *port = g_strdup_printf("%u", link_server_port(server));
    char *argv[] = { program, (char *)"--upload", folder, port, NULL };
    int status = 0;
    g_assert_true(g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, NULL, NULL, &status, NULL));
    g_assert_true(WIFSIGNALED(status));
    wait_read();
    g_assert_cmpstr(seen.read_error, !=, "");
    g_assert_cmpuint(seen.log->len, >, 0);
    link_server_stop(server);
}

static void
test_killed_server(void)
{
    char *argv[] = { program, (char *)"--serve", folder, NULL };
    GPid pid;
    int in, out;
    g_assert_true(g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, &in, &out,
                                           NULL, NULL));
    FILE *text = fdopen(out, "r");
    unsigned port = 0;
    g_assert_cmpint(fscanf(text, "%u", &port), ==, 1);

    g_autoptr(LinkClient) client = client_new((uint16_t)port);
    g_autoptr(GError) error = NULL;
    g_autoptr(LinkUpload) upload = link_client_send_log(client, VM, &log_header, 0, NULL, &error);
    g_assert_no_error(error);
    ChangeLogSink sink = link_upload_sink(upload);
    g_autofree char *piece = g_malloc0(1 << 20);
    while (sink.write(sink.opaque, piece, 1 << 20, &error))
        ;
    g_assert_error(error, LINK_ERROR, LINK_ERROR_UNREACHABLE);
    g_clear_error(&error);
    LinkPosition position;
    g_assert_false(link_upload_finish(upload, &position, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_UNREACHABLE);
    int status;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_true(WIFSIGNALED(status));
    fclose(text);
    close(in);
}

/* ---- harm ---- */

static unsigned
raw_request(uint16_t port, const char *method, const char *path, const char *const *headers, const char *body)
{
    HttpClientConfig config = client_config(port);
    g_autoptr(GError) error = NULL;
    g_autoptr(HttpClient) client = http_client_new(&config, &error);
    unsigned status = 0;
    http_client_request(client, method, path, headers, body, body != NULL ? strlen(body) : 0, &status, NULL, &error);
    g_assert_no_error(error);
    return status;
}

static void
test_paths(void)
{
    static const struct {
        const char *method, *path;
        unsigned    want;
    } cases[] = {
        { "GET", BASE "hello", 200 },
        { "GET", BASE "relationships/" VM, 200 },
        { "GET", BASE "relationships/0F1E2D3C-4B5A-6978-8796-A5B4C3D2E1F0", 404 },
        { "GET", BASE "relationships/../hello", 404 },
        { "GET", BASE "relationships/%2e%2e%2fhello", 404 },
        { "GET", BASE "relationships/" VM "/", 404 },
        { "GET", BASE "relationships/" VM "%00", 404 },
        { "GET", BASE "relationships/" VM "/../" VM, 404 },
        { "GET", BASE "relationships//" VM, 404 },
        { "GET", BASE "/relationships/" VM, 404 },
        { "GET", BASE "relationships", 404 },
        { "GET", "/virt-replica/v2/hello", 404 },
        { "GET", "/", 404 },
        { "PATCH", BASE "relationships/" VM, 405 },
        { "POST", BASE "hello", 405 },
        { "POST", BASE "relationships/" VM "/logs/-1", 404 },
        { "POST", BASE "relationships/" VM "/logs/1x", 404 },
        { "POST", BASE "relationships/" VM "/logs/99999999999999999999", 404 },
        { "POST", BASE "relationships/" VM "/logs/../logs/1", 404 },
        { "POST", BASE "relationships/" VM "/logs/1", 400 }, /* without its headers */
    };
    LinkServer *server = start(&ops);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s %s", cases[i].method, cases[i].path);
        g_assert_cmpuint(raw_request(link_server_port(server), cases[i].method, cases[i].path, NULL, NULL), ==,
                         cases[i].want);
    }
    g_assert_cmpuint(seen.calls, ==, 2);
    link_server_stop(server);
}

#define OFFER_START "{\"lineage\": \"" LINEAGE "\", \"domain_xml\": \"<d/>\", \"settings\": \"\", \"primary_host\": \"p\""
#define GOOD_DISKS  "\"disks\": [{\"id\": \"vda\", \"size_bytes\": 512}]"
#define GOOD_NAME   "\"name\": \"n\""
#define GOOD_MEMORY "\"memory_bytes\": 1"

static void
test_json(void)
{
    static const struct {
        const char *text;
        unsigned    want;
    } cases[] = {
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", " GOOD_DISKS "}", 200 },
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", \"disks\": []}", 200 },
        { "", 400 },
        { "[]", 400 },
        { "null", 400 },
        { "{}", 400 },
        { "{\"a\":", 400 },
        { "{\"a\": \"\xff\"}", 400 },
        { OFFER_START ", \"name\": 5, " GOOD_MEMORY ", " GOOD_DISKS "}", 400 },
        { OFFER_START ", \"name\": \"\", " GOOD_MEMORY ", " GOOD_DISKS "}", 400 },
        { OFFER_START ", \"name\": \"a\\nb\", " GOOD_MEMORY ", " GOOD_DISKS "}", 400 },
        { OFFER_START ", \"name\": [\"n\"], " GOOD_MEMORY ", " GOOD_DISKS "}", 400 },
        { OFFER_START ", \"lineage\": \"x\", " GOOD_NAME ", " GOOD_MEMORY ", " GOOD_DISKS "}", 400 },
        { OFFER_START ", " GOOD_NAME ", \"memory_bytes\": -1, " GOOD_DISKS "}", 400 },
        { OFFER_START ", " GOOD_NAME ", \"memory_bytes\": 1.5, " GOOD_DISKS "}", 400 },
        { OFFER_START ", " GOOD_NAME ", \"memory_bytes\": \"1\", " GOOD_DISKS "}", 400 },
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", \"disks\": {}}", 400 },
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", \"disks\": [\"vda\"]}", 400 },
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", \"disks\": [{\"id\": \"../x\", \"size_bytes\": 512}]}", 400 },
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", \"disks\": [{\"id\": \"vda\", \"size_bytes\": 513}]}", 400 },
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", \"disks\": [{\"id\": \"vda\", \"size_bytes\": 0}]}", 400 },
        { OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY
          ", \"disks\": [{\"id\": \"a\", \"size_bytes\": 512}, {\"id\": \"a\", \"size_bytes\": 512}]}", 400 },
        { "{\"a\": /* \" */ [[[[[[[[[[[[]]]]]]]]]]]]}", 400 },
    };
    LinkServer *server = start(&ops);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("%s", cases[i].text);
        g_assert_cmpuint(raw_request(link_server_port(server), "POST", BASE "relationships/" VM, NULL, cases[i].text), ==,
                         cases[i].want);
    }
    g_assert_cmpuint(seen.calls, ==, 2);

    /* Deep enough to end a parser that calls itself; too long a domain; too long a body. */
    g_autofree char *levels = g_strnfill(4000000, '[');
    g_autofree char *deep = g_strconcat("{\"a\":", levels, NULL);
    g_assert_cmpuint(raw_request(link_server_port(server), "PUT", BASE "relationships/" VM, NULL, deep), ==, 400);
    g_autofree char *filler = g_strnfill((1 << 20) + 1, 'x');
    g_autofree char *big = g_strconcat(OFFER_START ", " GOOD_NAME ", " GOOD_MEMORY ", " GOOD_DISKS ", \"domain_xml\": \"",
                                       filler, "\"}", NULL);
    g_assert_cmpuint(raw_request(link_server_port(server), "PUT", BASE "relationships/" VM, NULL, big), ==, 400);
    g_autofree char *huge = g_strnfill(20 << 20, ' ');
    g_assert_cmpuint(raw_request(link_server_port(server), "PUT", BASE "relationships/" VM, NULL, huge), ==, 400);
    g_assert_cmpuint(seen.calls, ==, 2);
    link_server_stop(server);
}

/* Whatever becomes of a text on its way, it is refused or still keeps every bound. */
static void
test_mutated_texts(void)
{
    LinkOffer offer = sample_offer();
    LinkPosition position;
    fill_position(&position);
    g_autofree char *offer_text = link_offer_to_json(&offer);
    g_autofree char *position_text = link_position_to_json(&position);
    for (int round = 0; round < 6000; round++) {
        g_autofree char *text = g_strdup(round % 2 == 0 ? offer_text : position_text);
        size_t length = strlen(text);
        for (int i = g_test_rand_int_range(1, 4); i > 0; i--)
            text[g_test_rand_int_range(0, (int)length)] = (char)g_test_rand_int_range(0, 256);
        g_autoptr(GBytes) bytes = g_bytes_new(text, length - (size_t)(round % 5 == 0 ? g_test_rand_int_range(0, 9) : 0));
        g_autoptr(GError) error = NULL;
        LinkOffer got = { NULL };
        if (round % 2 == 0 && link_offer_from_json(bytes, VM, &got, &error))
            g_assert_true(link_offer_check(&got, NULL));
        else if (round % 2 == 1 && link_position_from_json(bytes, &position, &error))
            g_assert_true(position.lineage[0] == '\0' || link_uuid_valid(position.lineage));
        else
            g_assert_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL);
        link_offer_clear(&got);
    }
}

static void
test_own_mistakes(void)
{
    LinkServer *server = start(&ops);
    g_autoptr(LinkClient) client = client_new(link_server_port(server));
    g_autoptr(GError) error = NULL;
    LinkPosition position;
    g_assert_false(link_client_position(client, "../hello", true, &position, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL);
    g_clear_error(&error);
    LinkOffer offer = sample_offer();
    offer.disks[1].size_bytes = 1;
    g_assert_false(link_client_offer(client, &offer, &position, &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL);
    g_clear_error(&error);
    g_assert_null(link_client_send_log(client, VM, &log_header, 0, "a\r\nX-Evil: 1", &error));
    g_assert_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL);
    g_clear_error(&error);
    g_assert_cmpuint(seen.calls, ==, 0);
    link_server_stop(server);

    g_autofree char *pem = file("r.example.pem"), *key = file("r.example-key.pem"), *ca = file("ca.pem");
    const HttpServerConfig good = { .address = "127.0.0.1", .certificate_file = pem, .key_file = key, .client_ca_file = ca,
                                    .require_client_certificate = true, .tls13_only = true };
    HttpServerConfig lax[3] = { good, good, good };
    lax[0].client_ca_file = NULL;
    lax[1].require_client_certificate = false;
    lax[2].tls13_only = false;
    for (size_t i = 0; i < G_N_ELEMENTS(lax); i++) {
        g_assert_null(link_server_start(&lax[i], &ops, &error));
        g_assert_error(error, LINK_ERROR, LINK_ERROR_TRUST);
        g_clear_error(&error);
    }
}

static void
remove_folder(void)
{
    GDir *dir = g_dir_open(folder, 0, NULL);
    for (const char *name; dir != NULL && (name = g_dir_read_name(dir)) != NULL;) {
        g_autofree char *entry = file(name);
        g_remove(entry);
    }
    g_dir_close(dir);
    g_rmdir(folder);
}

static bool
make_certificates(void)
{
    g_autofree char *command = g_strdup_printf("'%s' '%s' p.example r.example", g_getenv("MAKE_CERTIFICATES"), folder);
    int status = -1;
    return g_spawn_command_line_sync(command, NULL, NULL, &status, NULL) && status == 0;
}

int
main(int argc, char **argv)
{
    seen.log = g_byte_array_new();
    if (argc > 2 && g_str_equal(argv[1], "--serve")) {
        folder = argv[2];
        return serve_and_die();
    }
    if (argc > 3 && g_str_equal(argv[1], "--upload")) {
        folder = argv[2];
        return upload_and_die((uint16_t)g_ascii_strtoull(argv[3], NULL, 10));
    }
    g_test_init(&argc, &argv, NULL);
    program = argv[0];
    folder = g_dir_make_tmp("link-XXXXXX", NULL);
    if (!make_certificates()) {
        g_print("1..0 # SKIP certtool (gnutls-bin) is missing\n");
        return 0;
    }
    g_test_add_func("/link/round-trips", test_round_trips);
    g_test_add_func("/link/reversal", test_reversal);
    g_test_add_func("/link/log-arrives-as-sent", test_log);
    g_test_add_func("/link/broken-log-goes-on", test_resumed_log);
    g_test_add_func("/link/goes-on-only-from-what-is-held", test_resume_too_far);
    g_test_add_func("/link/position-with-a-partial-log", test_partial_position);
    g_test_add_func("/link/errors-keep-code-and-text", test_errors);
    g_test_add_func("/link/refused-log-tells-why", test_refused_log);
    g_test_add_func("/link/unread-log-is-not-acknowledged", test_unread_log);
    g_test_add_func("/link/dropped-log-is-never-a-clean-end", test_dropped_log);
    g_test_add_func("/link/killed-client-is-never-a-clean-end", test_killed_client);
    g_test_add_func("/link/killed-server-is-unreachable", test_killed_server);
    g_test_add_func("/link/paths", test_paths);
    g_test_add_func("/link/json", test_json);
    g_test_add_func("/link/mutated-texts-are-refused", test_mutated_texts);
    g_test_add_func("/link/own-mistakes-stay-here", test_own_mistakes);
    int result = g_test_run();
    remove_folder();
    link_offer_clear(&seen.offer);
    g_free(seen.read_error);
    g_free(seen.token);
    g_free(seen.id);
    g_byte_array_unref(seen.log);
    g_free(folder);
    return result;
}
