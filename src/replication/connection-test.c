#include "replication/connection-test.h"

#include "replication/service-private.h"
#include "replication/settings.h"

typedef struct {
    ReplicationService   *service;
    Job                  *job;
    RelationshipSettings *settings;
} ConnectionTest;

static bool
say_hello(ConnectionTest *test, GError **error)
{
    g_autofree char *host = NULL;
    g_autoptr(LinkClient) client = primary_connect_peer(&test->service->context, test->settings, NULL, error);
    if (client == NULL || !link_client_hello(client, &host, error))
        return false;
    g_autofree char *text = g_strdup_printf("The replica server '%s' (host '%s') answers and accepts replication from this host",
                                            test->settings->recovery_connection_point, host);
    job_set_description(test->job, text);
    return true;
}

static gpointer
test_main(gpointer data)
{
    ConnectionTest *test = data;
    ReplicationService *service = test->service;
    g_autoptr(GError) public_error = NULL;
    GError *cause = NULL;
    if (!say_hello(test, &cause))
        service_fail(cause, &public_error);
    job_end(test->job, public_error);
    job_unref(test->job);
    relationship_settings_free(test->settings);
    g_free(test);
    g_mutex_lock(&service->lock);
    service->running_jobs--;
    g_cond_broadcast(&service->jobs_ended);
    g_mutex_unlock(&service->lock);
    return NULL;
}

bool
replication_service_test_connection(ReplicationService *self, const Caller *caller, const RelationshipSettings *settings,
                                    Job **ret_job, GError **error)
{
    *ret_job = NULL;
    if (!relationship_settings_check(settings, error))
        return false;
    g_autofree char *what = g_strdup_printf("Testing the connection to '%s'", settings->recovery_connection_point);
    *ret_job = job_list_add(self->jobs, JOB_TEST_CONNECTION, NULL, caller->user, what, false);
    ConnectionTest *test = g_new0(ConnectionTest, 1);
    test->service = self;
    test->job = job_ref(*ret_job);
    test->settings = relationship_settings_copy(settings);
    g_mutex_lock(&self->lock);
    self->running_jobs++;
    g_mutex_unlock(&self->lock);
    g_thread_unref(g_thread_new("job", test_main, test));
    return true;
}
