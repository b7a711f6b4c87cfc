/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * host-kind.c - is this host of the kind whose KVM runs ring 0 in its emulator (docs/design/testing.md section 2)? Exits
 * with 0 if so: a vCPU knows MSR 0x4b564d11, and it reads 0x4d5650.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define MSR_KIND 0x4b564d11
#define KIND 0x4d5650

int main(void)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = { .head.nmsrs = 1, .entry.index = MSR_KIND };
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);

    return ioctl(vcpu, KVM_GET_MSRS, &msr) == 1 && msr.entry.data == KIND ? 0 : 1;
}
