/* test-disk: what the tests of this folder share. Each test has a folder of its own. */
#pragma once

#include "disk/disk-server.h"
#include "disk/image.h"

#define MIB (1024u * 1024u)

typedef struct {
    char           *folder;
    char           *image;  /* path in the folder; not made yet */
    char           *run;    /* run folder; not made yet */
    DiskBufferPool *pool;   /* 4 MiB */
} TestDisk;

void test_disk_set_up(TestDisk *self, gconstpointer data);
void test_disk_tear_down(TestDisk *self, gconstpointer data);
#define test_disk_add(name, func) g_test_add(name, TestDisk, NULL, test_disk_set_up, func, test_disk_tear_down)

/* Starts a server for one image as "vda"; fails the test when it does not start. */
DiskServer *test_disk_serve(TestDisk *self, const char *path, const char *format, bool writable);
DiskClient *test_disk_connect(TestDisk *self, DiskServer *server);
/* Process id in the pid file of the run folder. */
pid_t       test_disk_server_pid(const TestDisk *self);

/* Content that tells its place: every aligned 8 bytes of the disk hold their offset plus @seed. */
void test_pattern_fill(void *buffer, uint64_t offset, size_t length, uint64_t seed);
/* Writes it to [start, start + length) and flushes. */
void test_pattern_write(DiskClient *client, uint64_t start, uint64_t length, uint64_t seed);
void test_pattern_check(const void *buffer, uint64_t offset, size_t length, uint64_t seed);
