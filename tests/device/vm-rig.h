/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vm-rig.h - a bare machine on real KVM for tests of kvm/: RAM at 0, a few ports, vCPUs that start
 * in flat 32-bit mode at an address with a handful of instruction bytes.
 *
 *   port 0x80  counts writes               port 0x81  ends rig_wait()
 *   port 0x82  vm_hold() from the hook     port 0x83  reads as 0x5a, 0x5b, ...
 */
#pragma once

#include "../../common/error.h"
#include "../../kvm/iobus.h"
#include "../../kvm/memory.h"
#include "../../kvm/vcpu.h"
#include "../../kvm/vm.h"

#define RIG_RAM (2u << 20)
#define RIG_CODE 0x1000u
#define RIG_MAX_CPUS 64

typedef struct {
    Vm     *vm;
    guint8 *ram;
    IoRegion *ports;
    Vcpu   *cpus[RIG_MAX_CPUS];
    gint    count;     /* atomic: writes to port 0x80 */
    gint    done;      /* main thread: port 0x81, a fault or a triple fault was reported */
    gint    held;      /* atomic: writes to port 0x82 */
    gint    reads;     /* atomic: reads of port 0x83 */
    guint   faults, triple_faults;
    guint   reporter; /* index */
    char   *reason, *registers;
    guint64 rip;
    guint   insn_len;
} Rig;

/* FALSE, after g_test_skip() with the reason, where there is no usable /dev/kvm. */
gboolean rig_have_kvm(void);
Rig     *rig_new(void);
void     rig_free(Rig *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)

/* The host's own model. */
VcpuModel rig_model(Rig *r);
/* A CPU in slot N that starts at RIP; RUNNABLE says whether as boot CPU. Its thread is parked. */
Vcpu    *rig_add_cpu(Rig *r, guint n, gboolean runnable, guint64 rip);
void     rig_code(Rig *r, guint32 at, const void *code, gsize len);
#define RIG_CODE_AT(r, at, ...) \
    rig_code(r, at, (const guint8[]) { __VA_ARGS__ }, sizeof((const guint8[]) { __VA_ARGS__ }))

/* Serves the main loop until port 0x81 was written or a fault reported; fails the test after 20 s. */
void     rig_wait(Rig *r);
/* Serves the main loop until *VALUE (atomic) is at least MIN. */
void     rig_wait_for(Rig *r, gint *value, gint min);
guint32  rig_ram32(Rig *r, guint32 at);
