/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * virtq-rig.h - guest memory, a queue started on it and its driver: [RIG_BASE, +RIG_SIZE) has the rings and, from
 * DATA, room for buffers; a second region can be put right behind it.
 */
#pragma once

#include <sys/mman.h>

#include "../../common/error.h"
#include "../../common/util.h"
#include "../../kvm/accel.h"
#include "../unit/bare-vm.h"
#include "virtq-driver.h"

#define RIG_BASE G_GUINT64_CONSTANT(0x100000)
#define RIG_SIZE (G_GUINT64_CONSTANT(1) << 20)
#define RIG_SECOND_SIZE G_GUINT64_CONSTANT(0x10000)
#define DATA (RIG_BASE + 0xc0000)

typedef struct {
    Vm        *vm;
    guint8    *mem, *second;
    VirtQueue *vq;
    Drv        drv;
    gboolean   has_second;
    gint       removed; /* atomic */
} VqRig;

static const AccelOps rig_ops = { .memory_slot = bare_slot_ok, .pin_level = bare_no_pin, .msi_send = bare_no_msi };

static inline guint8 *rig_at(VqRig *r, guint64 gpa)
{
    return r->mem + (gpa - RIG_BASE);
}

static inline guint8 *rig_map(gsize size)
{
    guint8 *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert_true(p != MAP_FAILED);
    return p;
}

static inline VqRig vq_rig_stopped(guint16 size, guint32 flags)
{
    VqRig r = { .vm = bare_vm_new(VM_ACCEL_TEST, &rig_ops), .mem = rig_map(RIG_SIZE), .second = rig_map(RIG_SECOND_SIZE) };

    g_assert_true(vm_memory_add(r.vm, RIG_BASE, r.mem, RIG_SIZE, 0, NULL));
    g_assert_cmpuint(drv_init(&r.drv, r.mem, RIG_BASE, RIG_BASE, size, flags), <=, DATA);
    r.vq = vq_new(r.vm, NULL, NULL);
    return r;
}

static inline VqRig vq_rig(guint16 size, guint32 flags)
{
    VqRig r = vq_rig_stopped(size, flags);

    g_assert_true(vq_start(r.vq, &r.drv.config, NULL));
    return r;
}

static inline void rig_add_second(VqRig *r)
{
    if (!r->has_second)
        g_assert_true(vm_memory_add(r->vm, RIG_BASE + RIG_SIZE, r->second, RIG_SECOND_SIZE, 0, NULL));
    r->has_second = TRUE;
}

static inline void rig_remove_second(VqRig *r)
{
    vm_memory_remove(r->vm, RIG_BASE + RIG_SIZE);
    r->has_second = FALSE;
}

static inline void vq_rig_clear(VqRig *r)
{
    if (vq_started(r->vq))
        vq_stop(r->vq, NULL);
    vq_free(r->vq);
    drv_clear(&r->drv);
    bare_vm_free(r->vm);
    munmap(r->mem, RIG_SIZE);
    munmap(r->second, RIG_SECOND_SIZE);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VqRig, vq_rig_clear)
