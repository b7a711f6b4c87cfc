/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* cmd-session.c - what the machine is called and runs on; quit. (qmp/session-commands.c has the protocol's own.) */
#include "handlers.h"

gboolean cmd_query_name(Machine *m, QmpRequest *req, NameInfo **ret, GError **error)
{
    *ret = g_new0(NameInfo, 1);
    (*ret)->name = g_strdup(m->name);
    return TRUE;
}

gboolean cmd_query_target(Machine *m, QmpRequest *req, TargetInfo **ret, GError **error)
{
    *ret = g_new0(TargetInfo, 1);
    (*ret)->arch = SYS_EMU_TARGET_X86_64;
    return TRUE;
}

gboolean cmd_query_kvm(Machine *m, QmpRequest *req, KvmInfo **ret, GError **error)
{
    *ret = g_new0(KvmInfo, 1);
    (*ret)->enabled = m->accel == VM_ACCEL_KVM;
    (*ret)->present = m->accel == VM_ACCEL_KVM || access("/dev/kvm", R_OK | W_OK) == 0;
    return TRUE;
}

gboolean cmd_query_command_line_options(Machine *m, QmpRequest *req, const QueryCommandLineOptionsArgs *args,
                                        GPtrArray **ret, GError **error)
{
    if (args->option) {
        g_autofree char *given = error_quote(args->option, -1);
        return error_set(error, "invalid option name: %s", given);
    }
    /* What can be said on the command line is not configurable: everything is plugged over QMP. */
    *ret = REPLY_LIST(command_line_option_info_free);
    return TRUE;
}

static gboolean quit(gpointer user)
{
    machine_quit(user, FALSE, SHUTDOWN_CAUSE_HOST_QMP_QUIT, 0);
    return G_SOURCE_REMOVE;
}

/* The answer goes first, then SHUTDOWN: clients of QEMU know it that way. */
gboolean cmd_quit(Machine *m, QmpRequest *req, GError **error)
{
    g_idle_add_full(G_PRIORITY_HIGH, quit, m, NULL);
    return TRUE;
}
