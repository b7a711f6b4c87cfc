/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * caps.h - what the host offers to a CPU model. Read once from KVM; under the test accelerator a fixed
 * synthetic host, so that tests and frozen bytes do not depend on the processor beneath.
 */
#pragma once

#include <linux/kvm.h>

#include "vm.h"

/* KVM_GET_SUPPORTED_CPUID; main thread, owned by the Vm. */
const struct kvm_cpuid2 *vm_supported_cpuid(Vm *vm, GError **error);
/* KVM_GET_MSR_FEATURE_INDEX_LIST with values read from the system fd; owned by the Vm. */
const struct kvm_msr_entry *vm_feature_msrs(Vm *vm, guint *n, GError **error);
/* Physical address bits of the host processor. */
guint vm_phys_bits(Vm *vm);
