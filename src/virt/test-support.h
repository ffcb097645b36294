/* test-support: a hypervisor of one's own with writing guests, for the tests of this folder.
 *
 * Everything lies under one private folder that test_stop() removes, and the guests it started end there too.
 */
#pragma once

#include "virt/virt-private.h"

#define TEST_DISK_MIB 24

typedef struct {
    char     *root;    /* of the hypervisor, with images, sockets and scratch in it */
    char     *scratch; /* folder */
    VirtHost *host;
} TestBed;

/* A new private folder; it and the guests under it go with this process, however that ends. Call it before there are
 * threads. (transfer full) */
char    *test_root_new(void);
TestBed *test_start(const char *root);
void     test_stop(TestBed *self);

/* Makes a guest with two qcow2 disks full of data, vda and vdb, defines and starts it. It writes without end: sector
 * 1024 of both disks gets the number of the round, first on vda, and one more cluster of each is written. */
char *test_guest_new(TestBed *self, const char *name);
/* The same with XML of the caller's between the disks and the end of the devices. */
char *test_guest_define(TestBed *self, const char *name, const char *more_devices);
char *test_image(const TestBed *self, const char *name, const char *target);
void  test_guest_remove(TestBed *self, const char *uuid);

/* Waits until the guest has finished @writes more writes; the test fails when it does not. */
void test_guest_writes(TestBed *self, const char *uuid, unsigned writes);
bool test_guest_is_running(TestBed *self, const char *uuid);
bool test_has_job(TestBed *self, const char *uuid);
bool test_has_file_of_ours(const char *folder);

/* ---- captures ---- */

extern const char *const test_both_disks[]; /* vda and vdb */

/* A capture of both disks with ample bounds, to be changed by the caller. */
VirtCaptureRequest test_request(TestBed *self, const char *uuid, const char *job_id);
VirtCapture       *test_begin(TestBed *self, const VirtCaptureRequest *request); /* must succeed */
void               test_make_checkpoint(TestBed *self, const char *uuid, const char *name);
void               test_assert_no_checkpoint(TestBed *self, const char *uuid, const char *name);
/* No job of anybody, no file of ours. */
void               test_assert_clean(TestBed *self, const char *uuid);

/* Round and number of failed writes that the guest left on @target, read through a capture's export; both
 * little-endian in the sector. */
void test_read_round(VirtCapture *capture, const char *target, unsigned *ret_round, unsigned *ret_failed);
/* The same of an image that no QEMU has open. */
void test_read_image_round(const char *path, unsigned *ret_round, unsigned *ret_failed);
/* Bytes that the capture's dirty bitmap shows for @target. */
uint64_t test_dirty_bytes(VirtCapture *capture, const char *target);

/* Runs a program, which must succeed; (transfer full): what it printed. */
char *test_run(const char *program, ...) G_GNUC_NULL_TERMINATED;

VirtCaptureStatus test_wait_status(VirtCapture *capture, unsigned timeout_sec); /* until it is no longer active */
