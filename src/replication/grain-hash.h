/* grain-hash: the hash by which two hosts compare 64 KiB grains of their disks. Pure. */
#pragma once

#include "link/link.h"

/* First LINK_HASH_SIZE bytes of the SHA-256 of @length bytes; @data NULL stands for zeroes. */
void grain_hash(const void *data, size_t length, uint8_t ret_hash[LINK_HASH_SIZE]);
