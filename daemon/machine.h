/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * machine.h - the machine: owns the Vm, the devices and the QMP server; its run state.
 *
 * Main thread only. The table of run states and allowed transitions stands in machine.c and nowhere else.
 */
#pragma once

#include "../devices/core/device.h"
#include "../kvm/vm.h"
#include "../qmp/qmp.h"
#include "../schema/generated/qmp-types.h"

typedef struct Machine Machine;

struct Machine {
    char      *name;
    VmAccel    accel;
    Vm        *vm;
    DeviceSet *devices;
    QmpServer *server;
    GMainLoop *loop;
    RunState   state;
    int        exit_status;
    gboolean   shutdown_sent;      /* SHUTDOWN was emitted on the way out */
    gboolean   pending_reset;      /* power-on must run before the next instruction */
    RebootAction   on_reboot;      /* set-action */
    ShutdownAction on_shutdown;
    PanicAction    on_panic;
};

Machine *machine_new(const char *name, VmAccel accel, GError **error);
void     machine_free(Machine *m);

/* Moves to STATE; the transition must be in the table (our own bug otherwise). Tells systemd. */
void     machine_set_state(Machine *m, RunState state);
/* A command that does not fit the state is refused naming both. */
gboolean machine_check_state(Machine *m, const char *what, guint allowed_mask, GError **error);
#define STATE_BIT(s) (1u << (s))

gboolean machine_cont(Machine *m, GError **error);
void     machine_stop(Machine *m);
/* REASON as in the RESET and SHUTDOWN events. */
gboolean machine_reset(Machine *m, ShutdownCause reason, GError **error);
void     machine_shutdown(Machine *m, ShutdownCause reason);
/* Ends the main loop after the reply was sent. */
void     machine_quit(Machine *m, ShutdownCause reason, int status);

/* Plugs a device; brings the default board where it is wanted and missing. Takes BAG. */
Device  *machine_plug(Machine *m, PropBag *bag, GError **error);
