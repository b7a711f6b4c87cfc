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
#include "service.h"

typedef struct Machine Machine;

struct Machine {
    char      *name;
    VmAccel    accel;
    Vm        *vm;
    DeviceSet *devices;
    QmpServer *server;
    Service   *service;
    GMainLoop *loop;
    RunState   state;
    int        exit_status;
    gboolean   quitting;         /* SHUTDOWN was emitted on the way out; commands are refused */
    gboolean   qtest_connected;  /* we connected to the qtest client: when it goes, so do we */
    gboolean   power_on_pending; /* tables, kernel and BSP registers are made before the next instruction */
    gboolean   resetting;        /* by system_reset: the guest's own reset does not let it run */
    guint      guest_wants;      /* atomic, machine.c: what the guest asked for and the main thread has not done */
    gint       debug_exit;       /* atomic: the status by which the guest ends the daemon; 0: it does not */
    struct RtcChange *rtc_change; /* atomic: the latest that nobody was told of, or NULL */
    GQueue     unplugged;        /* ended requests that nobody was told of */
    guint      unplugged_source; /* 0: none is due */
    RebootAction   on_reboot;    /* set-action */
    ShutdownAction on_shutdown;
    PanicAction    on_panic;
};

/* Checks the accelerator; KVM's slow part goes on in the background. Takes nothing. */
Machine *machine_new(const char *name, VmAccel accel, Service *service, GError **error);
void     machine_free(Machine *m);

/* Lets all guest code run; from `prelaunch` and after a reset this powers the machine on first. */
gboolean machine_cont(Machine *m, GError **error);
void     machine_stop(Machine *m);
/* system_reset: goes on running if it was running. */
void     machine_reset(Machine *m);
/* Ends the process: SHUTDOWN, then the main loop returns once the reply was sent. */
void     machine_quit(Machine *m, gboolean guest, ShutdownCause reason, int status);

/* A plug command fits any state but the last ones: refused naming the state. */
gboolean machine_check_alive(Machine *m, const char *command, GError **error);

/* Before each command: MACHINE's news of devices that are gone or stay. */
void     machine_tell_unplugged(gpointer machine);

/* Whether there is a guest that could answer: it was started, and is not over. */
gboolean machine_guest_alive(const Machine *m);

/* The wire's form of it. Caller frees. */
ACPIOSTInfo *machine_ost_info(const DeviceOst *ost);

/* Plugs and publishes one device; brings the default board where it is wanted and missing. Takes BAG. */
Device  *machine_plug(Machine *m, PropBag *bag, GError **error);
/* The first half only: for transactions. *BOARD is set if a default board came with it. */
Device  *machine_plug_realize(Machine *m, PropBag *bag, Device **board, GError **error);
