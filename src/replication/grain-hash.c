#include "replication/grain-hash.h"

#include <gnutls/crypto.h>
#include <string.h>

void
grain_hash(const void *data, size_t length, uint8_t ret_hash[LINK_HASH_SIZE])
{
    static const uint8_t zeroes[CHANGE_LOG_GRAIN];
    uint8_t digest[32];
    g_assert(length <= sizeof zeroes);
    int status = gnutls_hash_fast(GNUTLS_DIG_SHA256, data != NULL ? data : zeroes, length, digest);
    g_assert(status == 0);
    memcpy(ret_hash, digest, LINK_HASH_SIZE);
}
