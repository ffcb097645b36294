/* ports: the file RUN/ports, which says where this daemon listens: lines NAME=PORT. For tools that start it with free ports. */
#pragma once

#include <glib.h>

typedef struct Ports Ports;
Ports *ports_new(const char *run_folder);
void   ports_free(Ports *self); /* and removes the file */
/* @port 0: no longer listening. Safe from any thread. */
void   ports_set(Ports *self, const char *name, unsigned port);
