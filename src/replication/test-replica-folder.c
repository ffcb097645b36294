#include "replication/replica-folder.h"
#include "replication/replica-space.h"
#include "util/durable.h"

#include <string.h>

typedef struct {
    char *folder;
} Scene;

static void
scene_open(Scene *scene, gconstpointer data)
{
    scene->folder = g_dir_make_tmp("vr-folder-XXXXXX", NULL);
    g_assert_true(replica_folder_make(scene->folder, NULL));
}

static void
scene_close(Scene *scene, gconstpointer data)
{
    durable_remove_tree(scene->folder, NULL);
    g_free(scene->folder);
}

static void
put(Scene *scene, const char *name)
{
    g_autofree char *path = g_build_filename(scene->folder, name, NULL);
    g_assert_true(g_file_set_contents(path, "x", -1, NULL));
}

static bool
has(Scene *scene, const char *name)
{
    g_autofree char *path = g_build_filename(scene->folder, name, NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void
test_an_adopted_image_is_one_disk(Scene *scene, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    put(scene, "disks/vda.qcow2"); /* of an earlier replica */
    put(scene, "disks/vdb.qcow2");
    g_assert_true(replica_disk_adopt(scene->folder, "vda", "/images/vda.qcow2", &error));
    g_assert_no_error(error);
    g_auto(GStrv) ids = replica_folder_disks(scene->folder, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_strv_length(ids), ==, 2);
    g_assert_cmpstr(ids[0], ==, "vda");
    g_assert_cmpstr(ids[1], ==, "vdb");
    g_assert_true(replica_disk_is_adopted(scene->folder, "vda"));
    g_assert_false(replica_disk_is_adopted(scene->folder, "vdb"));
    g_autofree char *path = replica_disk_path(scene->folder, "vda");
    g_assert_cmpstr(path, ==, "/images/vda.qcow2");
}

/* Firmware variables of a VM that came here by a failover are there. */
static void
test_clearing_spares_what_a_vm_may_use(Scene *scene, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    static const char *const kept[] = { "disks/vda.qcow2", "failover/vda.qcow2", "failover/blobs/nvram" };
    static const char *const gone[] = { "blobs/nvram", "undo/1-2-0.log", "staging/3.log", "reversed/from" };
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++)
        put(scene, kept[i]);
    g_assert_true(replica_turn_note(scene->folder, TURN_FROM, "", &error));
    for (size_t i = 0; i < G_N_ELEMENTS(gone); i++)
        put(scene, gone[i]);
    g_assert_true(replica_folder_clear(scene->folder, &error));
    g_assert_no_error(error);
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++)
        g_assert_true(has(scene, kept[i]));
    for (size_t i = 0; i < G_N_ELEMENTS(gone); i++)
        g_assert_false(has(scene, gone[i]));
}

static void
test_facts_of_a_turn(Scene *scene, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(replica_turn_fact(scene->folder, TURN_FROM));
    g_assert_true(replica_turn_note(scene->folder, TURN_FROM, "lineage", &error));
    g_assert_true(replica_turn_note(scene->folder, TURN_KNOWN, "", &error));
    g_autofree char *from = replica_turn_fact(scene->folder, TURN_FROM);
    g_assert_cmpstr(from, ==, "lineage");
    g_assert_true(replica_turn_unnote(scene->folder, TURN_KNOWN, &error));
    g_assert_true(replica_turn_unnote(scene->folder, TURN_KNOWN, &error)); /* again */
    g_assert_null(replica_turn_fact(scene->folder, TURN_KNOWN));
    g_assert_true(replica_turn_forget(scene->folder, &error));
    g_assert_null(replica_turn_fact(scene->folder, TURN_FROM));
    g_assert_no_error(error);
}

static void
test_size_at_a_failover(Scene *scene, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    uint64_t size = 0;
    g_assert_false(replica_failover_size_read(scene->folder, "vda", &size, NULL));
    g_assert_true(replica_failover_size_write(scene->folder, "vda", 123 * 512, &error));
    g_assert_true(replica_failover_size_read(scene->folder, "vda", &size, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(size, ==, 123 * 512);
}

/* The file system of an adopted image has a reserve, too; one that is not there tells that it is asked. */
static void
test_space_of_adopted_images(Scene *scene, gconstpointer data)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *elsewhere = g_build_filename(scene->folder, "elsewhere", NULL);
    g_autofree char *image = g_build_filename(elsewhere, "vda.qcow2", NULL);
    g_assert_true(durable_mkdir(elsewhere, &error));
    put(scene, "elsewhere/vda.qcow2");
    put(scene, "disks/vdb.qcow2");
    g_assert_true(replica_disk_adopt(scene->folder, "vda", image, &error));
    g_auto(GStrv) places = space_disk_places(scene->folder, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_strv_length(places), ==, 1);
    g_assert_cmpstr(places[0], ==, elsewhere);

    ReplicationContext context = { 0 };
    SpaceWatch watch;
    g_assert_true(space_watch_begin_disks(&watch, &context, scene->folder, places, &error));
    g_assert_no_error(error);
    durable_remove_tree(elsewhere, NULL);
    g_assert_false(space_watch_begin_disks(&watch, &context, scene->folder, places, &error));
    g_assert_nonnull(strstr(error->message, elsewhere));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(name, func) g_test_add("/replica-folder/" name, Scene, NULL, scene_open, func, scene_close)
    ADD("an-adopted-image-is-one-disk", test_an_adopted_image_is_one_disk);
    ADD("clearing-spares-what-a-vm-may-use", test_clearing_spares_what_a_vm_may_use);
    ADD("facts-of-a-turn", test_facts_of_a_turn);
    ADD("size-at-a-failover", test_size_at_a_failover);
    ADD("space-of-adopted-images", test_space_of_adopted_images);
    return g_test_run();
}
