/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bare-vm.h - a Vm without an accelerator: for tests of the parts that both accelerators share. A
 * test fills in the ops it wants to see called.
 */
#pragma once

#include "../../kvm/accel.h"

static inline gboolean bare_slot_ok(Vm *vm, const MemRegion *region, gboolean remove,
                                    GError **error)
{
    return TRUE;
}

static inline void bare_no_pin(Vm *vm, guint gsi, gboolean level)
{
}

static inline void bare_no_msi(Vm *vm, guint64 address, guint32 data)
{
}

static inline Vm *bare_vm_new(VmAccel accel, const AccelOps *ops)
{
    Vm *vm = g_new0(Vm, 1);

    vm->accel = accel;
    vm->ops = ops;
    vm->context = g_main_context_default();
    vm_clock_init(vm);
    vm_memory_init(vm);
    vm_bus_init(vm);
    vm_irq_init(vm);
    return vm;
}

static inline void bare_vm_free(Vm *vm)
{
    vm_irq_exit(vm);
    vm_bus_exit(vm);
    vm_memory_exit(vm);
    vm_clock_exit(vm);
    g_free(vm);
}
