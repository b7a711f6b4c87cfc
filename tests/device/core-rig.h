/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * core-rig.h - a machine in process for device tests: the test accelerator, an empty set of devices, and short ways
 * to plug things by the manager's JSON and to be the guest.
 */
#pragma once

#include "../../devices/core/device.h"
#include "../../kvm/accel.h"

typedef struct {
    Vm        *vm;
    DeviceSet *set;
    int        debug_exit; /* status that the guest gave; -1: none */
} Rig;

Rig  *rig_new(void);
void  rig_free(Rig *rig);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)

/* JSON of device_add ("driver"), object-add ("qom-type"), or {"chardev": "chardev-null", "id": ...}. */
PropBag *rig_bag(const char *json, GError **error);
/* Plugs and publishes; printf style. The first never fails. */
Device  *rig_plug(Rig *rig, const char *format, ...) G_GNUC_PRINTF(2, 3);
Device  *rig_try_plug(Rig *rig, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
/* Plugging fails and the message has FRAGMENT; the machine is as before: devices, claims, links, descriptors, threads. */
void     rig_refuse(Rig *rig, const char *fragment, const char *format, ...) G_GNUC_PRINTF(3, 4);
void     rig_remove(Device *dev);
void     rig_power_on(Rig *rig); /* reset, power-on, resume, run */

/* One access as a CPU makes it. */
guint64  rig_in(Rig *rig, guint port, unsigned size);
void     rig_out(Rig *rig, guint port, unsigned size, guint64 value);
void     rig_clock_step(Rig *rig, gint64 ns);

/* Runs the main loop until *FLAG (or for at most ten seconds: then the test fails). */
void     rig_wait(const gboolean *flag);
/* Runs what is ready and what becomes ready by it; returns the number of iterations that had something to do. */
guint    rig_settle(void);

guint    rig_count_fds(void);
guint    rig_count_threads(void);
/* A new folder; removed with all in it by rig_tmp_remove(), which frees the name. */
char    *rig_tmp_new(void);
void     rig_tmp_remove(char *dir);
