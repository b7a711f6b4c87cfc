/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "client.h"

#include <glib.h>
#include <json-glib/json-glib.h>

/* The codes are the exit statuses that backplanectl(1) documents. */
typedef enum {
    CTL_ERROR_DAEMON = 1,  /* the daemon answered an error */
    CTL_ERROR_USAGE = 2,   /* the command line is wrong */
    CTL_ERROR_CONNECT = 3, /* no machine, no socket, nobody listening */
    CTL_ERROR_TIMEOUT = 4, /* no answer, or not what was waited for, in time */
    CTL_ERROR_LOST = 5,    /* the connection ended in the middle */
    CTL_ERROR_FAILED = 6,  /* anything else: files, terminals, programs, odd replies */
} CtlError;

#define CTL_ERROR (ctl_error_quark())
GQuark ctl_error_quark(void);

/* What the command line said before, or among, a command's own arguments. */
typedef struct {
    char *machine;
    char *socket;
    gboolean json;
    double timeout; /* seconds, 0 for none; negative while nobody gave it */
    int ended_by;   /* the signal that ended the command in good order, 0 for none */
} Ctl;

/* @args is a string vector with the command's name first; options are removed from it. */
typedef gboolean (*CommandFunc)(Ctl *ctl, char ***args, GError **error);

typedef struct {
    const char *name;
    const char *synopsis; /* its arguments, in man page notation */
    const char *summary;  /* one line */
    const char *help;     /* the rest, for `help COMMAND` */
    CommandFunc run;
} Command;

#define CTL_DEFAULT_TIMEOUT 30.0
#define CTL_ANY_NUMBER G_MAXUINT

void ctl_clear(Ctl *ctl);
gboolean ctl_options(Ctl *ctl, const GOptionEntry *entries, char ***args, gboolean leading_only,
                     GError **error);
gboolean ctl_parse(Ctl *ctl, const GOptionEntry *entries, char ***args, guint min, guint max,
                   GError **error);
gboolean ctl_parse_count(const char *what, const char *text, guint *count, GError **error);
double ctl_timeout(const Ctl *ctl);
gint64 ctl_deadline(double seconds);
char *ctl_socket(const Ctl *ctl, GError **error);
QmpClient *ctl_connect(const Ctl *ctl, GError **error);
void ctl_print_error(const GError *error);
gboolean ctl_write_file(const char *file, const void *data, gsize length, GError **error);
void ctl_print_json(const Ctl *ctl, const char *json);
gboolean ctl_simple(const Ctl *ctl, const char *command, const char *arguments, GError **error);
JsonObject *ctl_object(JsonNode *node, const char *what, GError **error);
JsonArray *ctl_array(JsonNode *node, const char *what, GError **error);
const char *ctl_string_member(JsonObject *object, const char *name);
JsonObject *ctl_object_member(JsonObject *object, const char *name);

gboolean cmd_start(Ctl *ctl, char ***args, GError **error);
gboolean cmd_list(Ctl *ctl, char ***args, GError **error);
gboolean cmd_status(Ctl *ctl, char ***args, GError **error);
gboolean cmd_qmp(Ctl *ctl, char ***args, GError **error);
gboolean cmd_plug(Ctl *ctl, char ***args, GError **error);
gboolean cmd_unplug(Ctl *ctl, char ***args, GError **error);
gboolean cmd_cpus(Ctl *ctl, char ***args, GError **error);
gboolean cmd_memory(Ctl *ctl, char ***args, GError **error);
gboolean cmd_console(Ctl *ctl, char ***args, GError **error);
gboolean cmd_config(Ctl *ctl, char ***args, GError **error);
gboolean cmd_hints(Ctl *ctl, char ***args, GError **error);
gboolean cmd_abi(Ctl *ctl, char ***args, GError **error);
gboolean cmd_stop(Ctl *ctl, char ***args, GError **error);
gboolean cmd_cont(Ctl *ctl, char ***args, GError **error);
gboolean cmd_reset(Ctl *ctl, char ***args, GError **error);
gboolean cmd_powerdown(Ctl *ctl, char ***args, GError **error);
gboolean cmd_quit(Ctl *ctl, char ***args, GError **error);
gboolean cmd_events(Ctl *ctl, char ***args, GError **error);
gboolean cmd_wait(Ctl *ctl, char ***args, GError **error);
