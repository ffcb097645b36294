/* The table of enumeration contexts: owners, bounds, expiry. */
#include "wsman/enumeration.h"
#include "wsman/fault.h"

#define LONG_USEC (G_GINT64_CONSTANT(3600) * G_USEC_PER_SEC)

static Enumeration *
new_for(const char *user)
{
    GPtrArray *items = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(items, g_strdup("<x/>"));
    return enumeration_new(user, items, true, ENUMERATE_OBJECTS, (ValueStyle){ FAMILY_WMI, false });
}

static char *
add(EnumerationTable *table, const char *user)
{
    Enumeration *enumeration = new_for(user);
    char *id = g_strdup(enumeration->id);
    g_autoptr(GError) error = NULL;

    enumeration_table_add(table, enumeration, &error);
    g_assert_no_error(error);
    return id;
}

static void
assert_full(EnumerationTable *table, const char *user)
{
    g_autoptr(Enumeration) enumeration = new_for(user);
    g_autoptr(GError) error = NULL;

    g_assert_false(enumeration_table_add(table, enumeration, &error));
    g_assert_error(error, WSMAN_ERROR, WSMAN_ERROR_QUOTA);
}

static void
test_owner(void)
{
    EnumerationTable *table = enumeration_table_new(LONG_USEC, 10, 10);
    g_autofree char *id = add(table, "a");
    g_autofree char *other_id = add(table, "a");
    g_autoptr(GError) error = NULL;
    Enumeration *enumeration = NULL;

    g_assert_cmpstr(id, !=, other_id);
    g_assert_null(enumeration_table_take(table, id, "b", &error));
    g_assert_error(error, WSMAN_ERROR, WSMAN_ERROR_ENUMERATION_CONTEXT);
    enumeration = enumeration_table_take(table, id, "a", NULL);
    g_assert_nonnull(enumeration);
    g_assert_null(enumeration_table_take(table, id, "a", NULL)); /* one pull at a time */
    enumeration_table_put_back(table, enumeration);
    g_assert_cmpuint(enumeration_table_count(table), ==, 2);
    enumeration_free(enumeration_table_take(table, id, "a", NULL));
    g_assert_cmpuint(enumeration_table_count(table), ==, 1);
    enumeration_table_free(table);
}

static void
test_bounds(void)
{
    EnumerationTable *table = enumeration_table_new(LONG_USEC, 2, 3);

    g_free(add(table, "a"));
    g_free(add(table, "a"));
    assert_full(table, "a");
    g_free(add(table, "b"));
    assert_full(table, "c");
    enumeration_table_free(table);
}

static void
test_expiry(void)
{
    EnumerationTable *table = enumeration_table_new(-1, 1, 1); /* everything is past its time at once */
    g_autofree char *id = NULL;

    g_free(add(table, "a"));
    id = add(table, "a"); /* the first one left its place */
    g_assert_null(enumeration_table_take(table, id, "a", NULL));
    g_assert_cmpuint(enumeration_table_count(table), ==, 0);
    enumeration_table_free(table);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/enumeration/belongs-to-its-user", test_owner);
    g_test_add_func("/enumeration/bounds", test_bounds);
    g_test_add_func("/enumeration/expiry", test_expiry);
    return g_test_run();
}
