/* memory-vm: disks and blobs of a small VM in memory, as a ChangeLogTarget; for tests and fuzzing only.
 *
 * It checks what a real target would check, refuses disks above MEMORY_VM_SIZE_MAX, and can fail at a chosen call.
 */
#pragma once

#include "changelog/changelog.h"

#define MEMORY_VM_SIZE_MAX (4u << 20)

typedef struct {
    char *id;
    GByteArray *content;
} MemoryDisk;

typedef struct {
    GPtrArray *disks;  /* MemoryDisk */
    GHashTable *blobs; /* name -> GBytes */
    int fail_after;    /* that many changes succeed, then every one fails; negative: none fails */
    uint64_t bytes_read;
    unsigned changes;  /* writes, zeroes, resizes and blobs set so far */
    bool flushed;      /* no change since the last flush */
} MemoryVm;

MemoryVm       *memory_vm_new(void);
void            memory_vm_free(MemoryVm *self);
MemoryVm       *memory_vm_copy(const MemoryVm *self); /* that fails nowhere */
MemoryDisk     *memory_vm_add_disk(MemoryVm *self, const char *id, uint64_t size);
MemoryDisk     *memory_vm_disk(const MemoryVm *self, const char *id); /* NULL when there is none */
void            memory_vm_set_blob(MemoryVm *self, const char *name, GBytes *content); /* NULL removes */
bool            memory_vm_equal(const MemoryVm *a, const MemoryVm *b);
ChangeLogTarget memory_vm_target(MemoryVm *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(MemoryVm, memory_vm_free)
