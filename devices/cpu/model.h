/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* model.h - private to devices/cpu: CPU models as property values, and CPUID tables from them. */
#pragma once

#include "../../schema/generated/devices.h"
#include "cpu.h"
#include "features.h"

/* Fills every row of DEV's bag that nobody has set, from its type's model and the host. Refuses features that the host lacks. */
gboolean cpu_model_resolve(Device *dev, GError **error);

/* The table for KVM, from the rows and the slot's place: the only source of what CPUID says. (GArray of kvm_cpuid_entry2) */
GArray *cpu_cpuid_build(const X86CpuConfig *config, const BoardConfig *board, const CpuSlot *slot);
/* GArray of kvm_msr_entry */
GArray *cpu_feature_msrs(const X86CpuConfig *config);

/* Bits that a number below COUNT needs. */
static inline guint cpu_id_width(guint count)
{
    return count <= 1 ? 0 : 32 - (guint)__builtin_clz(count - 1);
}
