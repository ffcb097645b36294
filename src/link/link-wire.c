#include "link/link-wire.h"

#include <json-glib/json-glib.h>
#include <string.h>

enum { DEPTH_MAX = 8, NAME_MAX_BYTES = 255, ERROR_TEXT_MAX = 1000 };

G_DEFINE_QUARK(link-error-quark, link_error)

static const struct {
    LinkError   code;
    const char *name;
    unsigned    status;
} codes[] = {
    { LINK_ERROR_UNREACHABLE, "unreachable", 503 }, { LINK_ERROR_TRUST, "trust", 403 },
    { LINK_ERROR_DENIED, "denied", 403 },           { LINK_ERROR_STATE, "state", 409 },
    { LINK_ERROR_MISFIT, "misfit", 412 },           { LINK_ERROR_PROTOCOL, "protocol", 400 },
    { LINK_ERROR_NO_SPACE, "no-space", 507 },       { LINK_ERROR_FAILED, "failed", 500 },
};

void
link_offer_clear(LinkOffer *offer)
{
    g_free(offer->vm_uuid);
    g_free(offer->vm_name);
    g_free(offer->lineage);
    g_free(offer->domain_xml);
    g_free(offer->settings);
    g_free(offer->primary_host);
    *offer = (LinkOffer){ NULL };
}

/* ---- forms ---- */

bool
link_uuid_valid(const char *text)
{
    if (text == NULL || strlen(text) != 36)
        return false;
    for (int i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !g_ascii_isdigit(text[i]) && (text[i] < 'a' || text[i] > 'f'))
            return false;
    }
    return true;
}

static bool
plain_text(const char *text, size_t minimum, size_t maximum)
{
    if (text == NULL)
        return false;
    size_t length = strnlen(text, maximum + 1);
    if (length < minimum || length > maximum || !g_utf8_validate(text, (gssize)length, NULL))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (g_ascii_iscntrl(text[i]))
            return false;
    }
    return true;
}

bool
link_token_valid(const char *text)
{
    return plain_text(text, 0, LINK_TOKEN_MAX);
}

bool
link_number_parse(const char *text, uint64_t *ret_value)
{
    uint64_t value;
    if (text == NULL || !g_ascii_isdigit(text[0]) || !g_ascii_string_to_unsigned(text, 10, 0, INT64_MAX, &value, NULL))
        return false;
    *ret_value = value;
    return true;
}

static bool
disk_id_valid(const char *id)
{
    if (id == NULL || id[0] == '\0' || id[0] == '.' || strlen(id) > CHANGE_LOG_NAME_MAX)
        return false;
    for (; *id != '\0'; id++) {
        if (!g_ascii_isalnum(*id) && strchr("._-", *id) == NULL)
            return false;
    }
    return true;
}

static bool
wrong(GError **error, const char *member)
{
    g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "'%s' is missing or has not the form it must have", member);
    return false;
}

static bool
disks_valid(const LinkOffer *offer)
{
    if (offer->n_disks > CHANGE_LOG_DISKS_MAX)
        return false;
    for (unsigned i = 0; i < offer->n_disks; i++) {
        const ChangeLogDisk *disk = &offer->disks[i];
        if (!disk_id_valid(disk->id) || disk->size_bytes == 0 || disk->size_bytes % 512 != 0 ||
            disk->size_bytes > INT64_MAX)
            return false;
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(disk->id, offer->disks[k].id) == 0)
                return false;
        }
    }
    return true;
}

static bool
long_text(const char *text, size_t minimum, size_t maximum)
{
    size_t length = text != NULL ? strnlen(text, maximum + 1) : maximum + 1;
    return length >= minimum && length <= maximum && g_utf8_validate(text, (gssize)length, NULL);
}

bool
link_offer_check(const LinkOffer *offer, GError **error)
{
    if (!link_uuid_valid(offer->vm_uuid))
        return wrong(error, "vm_uuid");
    if (!plain_text(offer->vm_name, 1, NAME_MAX_BYTES))
        return wrong(error, "name");
    if (!link_uuid_valid(offer->lineage))
        return wrong(error, "lineage");
    if (!long_text(offer->domain_xml, 1, LINK_DOMAIN_XML_MAX))
        return wrong(error, "domain_xml");
    if (!long_text(offer->settings, 0, LINK_SETTINGS_MAX))
        return wrong(error, "settings");
    if (!plain_text(offer->primary_host, 0, NAME_MAX_BYTES))
        return wrong(error, "primary_host");
    if (offer->memory_bytes > INT64_MAX)
        return wrong(error, "memory_bytes");
    return disks_valid(offer) || wrong(error, "disks");
}

/* ---- writing ---- */

static void
add_text(JsonBuilder *builder, const char *name, const char *value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_string_value(builder, value);
}

static void
add_number(JsonBuilder *builder, const char *name, uint64_t value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, (int64_t)value);
}

/* One that is not set is left out. */
static void
add_flag(JsonBuilder *builder, const char *name, bool value)
{
    if (!value)
        return;
    json_builder_set_member_name(builder, name);
    json_builder_add_boolean_value(builder, true);
}

static char *
end_text(JsonBuilder *builder)
{
    json_builder_end_object(builder);
    g_autoptr(JsonGenerator) generator = json_generator_new();
    JsonNode *root = json_builder_get_root(builder);
    json_generator_set_root(generator, root);
    char *text = json_generator_to_data(generator, NULL);
    json_node_unref(root);
    return text;
}

char *
link_offer_to_json(const LinkOffer *offer)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    add_text(builder, "name", offer->vm_name);
    add_text(builder, "lineage", offer->lineage);
    add_text(builder, "domain_xml", offer->domain_xml);
    add_text(builder, "settings", offer->settings);
    add_text(builder, "primary_host", offer->primary_host);
    add_number(builder, "memory_bytes", offer->memory_bytes);
    add_flag(builder, "extended", offer->extended);
    json_builder_set_member_name(builder, "disks");
    json_builder_begin_array(builder);
    for (unsigned i = 0; i < offer->n_disks; i++) {
        json_builder_begin_object(builder);
        add_text(builder, "id", offer->disks[i].id);
        add_number(builder, "size_bytes", offer->disks[i].size_bytes);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    return end_text(builder);
}

void
link_digest_to_text(const uint8_t *digest, char text[LINK_DIGEST_TEXT])
{
    for (unsigned i = 0; i < CHANGE_LOG_DIGEST_SIZE; i++)
        g_snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

bool
link_digest_parse(const char *text, uint8_t *ret_digest)
{
    uint8_t digest[CHANGE_LOG_DIGEST_SIZE];
    if (text == NULL || strlen(text) != LINK_DIGEST_TEXT - 1)
        return false;
    for (unsigned i = 0; i < CHANGE_LOG_DIGEST_SIZE; i++) {
        int high = g_ascii_xdigit_value(text[2 * i]), low = g_ascii_xdigit_value(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        digest[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(ret_digest, digest, sizeof digest);
    return true;
}

size_t
link_changes_size(uint64_t length)
{
    uint64_t grains = (length + CHANGE_LOG_GRAIN - 1) / CHANGE_LOG_GRAIN;
    return (size_t)((grains + 7) / 8);
}

char *
link_position_to_json(const LinkPosition *position)
{
    char digest[LINK_DIGEST_TEXT];
    link_digest_to_text(position->digest, digest);
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    add_number(builder, "state", position->state);
    add_text(builder, "lineage", position->lineage);
    json_builder_set_member_name(builder, "initial_complete");
    json_builder_add_boolean_value(builder, position->initial_complete);
    add_number(builder, "position", position->position);
    add_number(builder, "applied", position->applied);
    add_text(builder, "digest", digest);
    add_text(builder, "pass_token", position->pass_token);
    if (position->receiving || position->partial_id[0] != '\0') {
        json_builder_set_member_name(builder, "receiving");
        json_builder_add_boolean_value(builder, position->receiving);
        add_text(builder, "partial_id", position->partial_id);
        add_number(builder, "partial_bytes", position->partial_bytes);
        add_number(builder, "partial_records", position->partial_records);
    }
    add_flag(builder, "seeded", position->seeded);
    if (position->disk_set[0] != '\0')
        add_text(builder, "disk_set", position->disk_set);
    add_flag(builder, "changes_known", position->changes_known);
    add_flag(builder, "vm_runs", position->vm_runs);
    return end_text(builder);
}

char *
link_hello_to_json(const char *host)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    add_text(builder, "host", host);
    return end_text(builder);
}

unsigned
link_error_status(LinkError code)
{
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
        if (codes[i].code == code)
            return codes[i].status;
    }
    return 500;
}

char *
link_error_to_json(const GError *error, LinkError *ret_code)
{
    LinkError code = error != NULL && error->domain == LINK_ERROR ? (LinkError)error->code : LINK_ERROR_FAILED;
    const char *name = "failed";
    for (size_t i = 0; i < G_N_ELEMENTS(codes); i++) {
        if (codes[i].code == code)
            name = codes[i].name;
    }
    g_autofree char *message = g_utf8_make_valid(error != NULL ? error->message : "no reason was given", -1);
    g_autoptr(JsonBuilder) builder = json_builder_new();
    json_builder_begin_object(builder);
    add_text(builder, "error", message);
    add_text(builder, "code", name);
    *ret_code = code;
    return end_text(builder);
}

/* ---- reading ---- */

/* json-glib calls itself for each level, so the depth is bounded before it sees the text. Outside of strings only what JSON
 * has there is let through: json-glib would take comments as well, and a quote in one would hide levels from us. */
static bool
depth_is_bounded(const char *text, size_t length)
{
    unsigned depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (quoted && c == '\\' && length - i > 5 && memcmp(text + i, "\\u0000", 6) == 0)
            return false; /* would end the text early in C: what is checked would not be what is meant */
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && strchr("{}[]:, \t\r\n0123456789+-.Eaeflnrstu", c) == NULL)
            return false;
        else if (!quoted && (c == '[' || c == '{') && ++depth > DEPTH_MAX)
            return false;
        else if (!quoted && (c == ']' || c == '}') && depth > 0)
            depth--;
    }
    return true;
}

static JsonObject *
parse_object(JsonParser *parser, GBytes *text, size_t limit, GError **error)
{
    size_t length = 0;
    const char *data = g_bytes_get_data(text, &length);
    g_autoptr(GError) local = NULL;
    if (length == 0 || length > limit || memchr(data, '\0', length) != NULL || data[0] != '{' ||
        !depth_is_bounded(data, length) || !json_parser_load_from_data(parser, data, (gssize)length, &local) ||
        json_parser_get_root(parser) == NULL || !JSON_NODE_HOLDS_OBJECT(json_parser_get_root(parser))) {
        g_set_error(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "the peer sent no JSON object of the expected size: %s",
                    local != NULL ? local->message : "malformed");
        return NULL;
    }
    return json_node_get_object(json_parser_get_root(parser));
}

/* Returns: (nullable): the text, owned by @object */
static const char *
get_text(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node != NULL && json_node_get_value_type(node) == G_TYPE_STRING ? json_node_get_string(node) : NULL;
}

static bool
get_number(JsonObject *object, const char *name, uint64_t maximum, uint64_t *ret_value)
{
    JsonNode *node = json_object_get_member(object, name);
    if (node == NULL || json_node_get_value_type(node) != G_TYPE_INT64 || json_node_get_int(node) < 0 ||
        (uint64_t)json_node_get_int(node) > maximum)
        return false;
    *ret_value = (uint64_t)json_node_get_int(node);
    return true;
}

static bool
get_disks(JsonObject *object, LinkOffer *offer)
{
    JsonNode *node = json_object_get_member(object, "disks");
    if (node == NULL || !JSON_NODE_HOLDS_ARRAY(node) ||
        json_array_get_length(json_node_get_array(node)) > CHANGE_LOG_DISKS_MAX)
        return false;
    JsonArray *array = json_node_get_array(node);
    for (unsigned i = 0; i < json_array_get_length(array); i++) {
        JsonNode *element = json_array_get_element(array, i);
        if (!JSON_NODE_HOLDS_OBJECT(element))
            return false;
        const char *id = get_text(json_node_get_object(element), "id");
        if (!disk_id_valid(id) ||
            !get_number(json_node_get_object(element), "size_bytes", INT64_MAX, &offer->disks[i].size_bytes))
            return false;
        g_strlcpy(offer->disks[i].id, id, sizeof offer->disks[i].id);
        offer->n_disks++;
    }
    return true;
}

static bool
get_flag(JsonObject *object, const char *name, bool *ret_value)
{
    JsonNode *node = json_object_get_member(object, name);
    if (node != NULL && json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return false;
    *ret_value = node != NULL && json_node_get_boolean(node);
    return true;
}

bool
link_offer_from_json(GBytes *text, const char *vm_uuid, LinkOffer *ret_offer, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *object = parse_object(parser, text, LINK_OFFER_MAX, error);
    if (object == NULL)
        return false;
    LinkOffer offer = {
        .vm_uuid = g_strdup(vm_uuid),
        .vm_name = g_strdup(get_text(object, "name")),
        .lineage = g_strdup(get_text(object, "lineage")),
        .domain_xml = g_strdup(get_text(object, "domain_xml")),
        .settings = g_strdup(get_text(object, "settings")),
        .primary_host = g_strdup(get_text(object, "primary_host")),
    };
    bool good = get_number(object, "memory_bytes", INT64_MAX, &offer.memory_bytes) || wrong(error, "memory_bytes");
    good = good && (get_flag(object, "extended", &offer.extended) || wrong(error, "extended"));
    good = good && (get_disks(object, &offer) || wrong(error, "disks"));
    good = good && link_offer_check(&offer, error);
    if (good)
        *ret_offer = offer;
    else
        link_offer_clear(&offer);
    return good;
}

static bool
get_digest(JsonObject *object, uint8_t *ret_digest)
{
    return link_digest_parse(get_text(object, "digest"), ret_digest);
}

/* All of it, or nothing: a receiver that keeps nothing says nothing. */
static bool
get_partial(JsonObject *object, LinkPosition *position, GError **error)
{
    JsonNode *receiving = json_object_get_member(object, "receiving");
    if (receiving == NULL)
        return true;
    const char *id = get_text(object, "partial_id");
    if (json_node_get_value_type(receiving) != G_TYPE_BOOLEAN)
        return wrong(error, "receiving");
    if (id == NULL || (id[0] != '\0' && !link_uuid_valid(id)))
        return wrong(error, "partial_id");
    if (!get_number(object, "partial_bytes", INT64_MAX, &position->partial_bytes))
        return wrong(error, "partial_bytes");
    if (!get_number(object, "partial_records", INT64_MAX, &position->partial_records))
        return wrong(error, "partial_records");
    position->receiving = json_node_get_boolean(receiving);
    g_strlcpy(position->partial_id, id, sizeof position->partial_id);
    return true;
}

/* One that is left out is not set. */
bool
link_position_from_json(GBytes *text, LinkPosition *ret_position, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *object = parse_object(parser, text, LINK_ANSWER_MAX, error);
    if (object == NULL)
        return false;
    LinkPosition position = { 0 };
    uint64_t state = 0;
    const char *lineage = get_text(object, "lineage");
    const char *token = get_text(object, "pass_token");
    JsonNode *complete = json_object_get_member(object, "initial_complete");
    if (!get_number(object, "state", UINT16_MAX, &state))
        return wrong(error, "state");
    if (lineage == NULL || (lineage[0] != '\0' && !link_uuid_valid(lineage)))
        return wrong(error, "lineage");
    if (complete == NULL || json_node_get_value_type(complete) != G_TYPE_BOOLEAN)
        return wrong(error, "initial_complete");
    if (!get_number(object, "position", INT64_MAX, &position.position))
        return wrong(error, "position");
    if (!get_number(object, "applied", INT64_MAX, &position.applied))
        return wrong(error, "applied");
    if (!get_digest(object, position.digest))
        return wrong(error, "digest");
    if (!link_token_valid(token))
        return wrong(error, "pass_token");
    if (!get_partial(object, &position, error))
        return false;
    const char *disk_set = get_text(object, "disk_set");
    if (disk_set != NULL && strlen(disk_set) >= sizeof position.disk_set)
        return wrong(error, "disk_set");
    if (!get_flag(object, "seeded", &position.seeded))
        return wrong(error, "seeded");
    if (!get_flag(object, "changes_known", &position.changes_known))
        return wrong(error, "changes_known");
    if (!get_flag(object, "vm_runs", &position.vm_runs))
        return wrong(error, "vm_runs");
    position.state = (unsigned)state;
    position.initial_complete = json_node_get_boolean(complete);
    g_strlcpy(position.lineage, lineage, sizeof position.lineage);
    g_strlcpy(position.disk_set, disk_set != NULL ? disk_set : "", sizeof position.disk_set);
    g_strlcpy(position.pass_token, token, sizeof position.pass_token);
    *ret_position = position;
    return true;
}

bool
link_hello_from_json(GBytes *text, char **ret_host, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *object = parse_object(parser, text, LINK_ANSWER_MAX, error);
    if (object == NULL)
        return false;
    const char *host = get_text(object, "host");
    if (!plain_text(host, 0, NAME_MAX_BYTES))
        return wrong(error, "host");
    *ret_host = g_strdup(host);
    return true;
}

static LinkError
code_of_status(unsigned status)
{
    switch (status) {
    case 403:
        return LINK_ERROR_DENIED;
    case 503:
        return LINK_ERROR_UNREACHABLE;
    default:
        return LINK_ERROR_PROTOCOL;
    }
}

void
link_error_from_answer(unsigned status, GBytes *answer, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonObject *object = parse_object(parser, answer, LINK_ANSWER_MAX, NULL);
    const char *name = object != NULL ? get_text(object, "code") : NULL;
    const char *message = object != NULL ? get_text(object, "error") : NULL;
    LinkError code = code_of_status(status);
    for (size_t i = 0; name != NULL && i < G_N_ELEMENTS(codes); i++) {
        if (strcmp(codes[i].name, name) == 0)
            code = codes[i].code;
    }
    if (message == NULL) {
        g_set_error(error, LINK_ERROR, code, "the peer answered with status %u and no reason", status);
        return;
    }
    g_autofree char *part = g_strndup(message, ERROR_TEXT_MAX);
    g_autofree char *clean = g_utf8_make_valid(part, -1);
    for (char *c = clean; *c != '\0'; c++) {
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    }
    g_set_error(error, LINK_ERROR, code, "the peer says: %s", clean);
}

/* ---- hashes ---- */

bool
link_disk_valid(const char *text)
{
    if (text == NULL || text[0] == '\0' || text[0] == '.' || strlen(text) > CHANGE_LOG_NAME_MAX)
        return false;
    for (const char *c = text; *c != '\0'; c++) {
        if (!g_ascii_isalnum(*c) && *c != '.' && *c != '_' && *c != '-')
            return false;
    }
    return true;
}

size_t
link_hashes_size(uint64_t length)
{
    return (size_t)((length + CHANGE_LOG_GRAIN - 1) / CHANGE_LOG_GRAIN) * LINK_HASH_SIZE;
}

char *
link_hashes_to_text(const GByteArray *hashes)
{
    static const char digits[] = "0123456789abcdef";
    char *text = g_malloc(2 * (size_t)hashes->len + 1);
    for (guint i = 0; i < hashes->len; i++) {
        text[2 * i] = digits[hashes->data[i] >> 4];
        text[2 * i + 1] = digits[hashes->data[i] & 15];
    }
    text[2 * (size_t)hashes->len] = '\0';
    return text;
}

bool
link_hashes_from_text(GBytes *text, size_t wanted, GByteArray **ret_hashes, GError **error)
{
    gsize length = 0;
    const char *digits = g_bytes_get_data(text, &length);
    g_autoptr(GByteArray) hashes = g_byte_array_sized_new((guint)wanted);
    bool good = length == 2 * wanted;
    for (size_t i = 0; good && i < wanted; i++) {
        int high = g_ascii_xdigit_value(digits[2 * i]), low = g_ascii_xdigit_value(digits[2 * i + 1]);
        guint8 byte = (guint8)(high << 4 | low);
        good = high >= 0 && low >= 0;
        g_byte_array_append(hashes, &byte, 1);
    }
    if (!good) {
        g_set_error_literal(error, LINK_ERROR, LINK_ERROR_PROTOCOL, "the peer's hashes are malformed");
        return false;
    }
    *ret_hashes = g_steal_pointer(&hashes);
    return true;
}
