/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cpu.h - CPUs as the board, tables and queries see them.
 *
 * The board has max-cpus slots, numbered by topology: index = ((socket * dies + die) * cores + core) * threads + thread.
 * A slot's APIC id packs the same numbers in bit fields each wide enough for its count (Intel SDM 8.9, AMD APM "extended APIC id").
 */
#pragma once

#include "../../kvm/vcpu.h"
#include "../core/device.h"

typedef struct {
    guint   index;
    guint32 socket, die, core, thread;
    guint32 apic_id;
    Device *cpu; /* NULL: empty */
} CpuSlot;

guint  cpu_slots_count(DeviceSet *set);                 /* 0 without a board */
void   cpu_slot_get(DeviceSet *set, guint index, CpuSlot *out);
guint  cpu_plugged_count(DeviceSet *set);
/* The CPU that starts at reset: the lowest plugged index. NULL without any. */
Device *cpu_bsp(DeviceSet *set);
Vcpu   *cpu_vcpu(Device *cpu);
guint   cpu_index(Device *cpu);
/* The fingerprint's and the tests' view: the CPUID table handed to KVM. */
const struct kvm_cpuid_entry2 *cpu_cpuid(Device *cpu, guint *n);
gboolean cpu_is_cpu(const Device *dev);
/* "host-x86_64-cpu" ...: NULL-terminated names of all CPU types. */
const char *const *cpu_type_names(void);
