/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * floor.c - what the kernel alone charges for a virtual machine that comes to life: the yardstick of the bench's wall times.
 *
 * One VM with interrupt controllers, 256 MiB, one vCPU and two instructions that write a byte to COM1; then one line on standard
 * output. No monitor can be faster in the same order of work; one that is not much slower has little of its own in the way.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define RAM (256ul << 20)
#define ENTRY 0x1000
#define COM1 0x3f8

static int kvm_do(int fd, unsigned long request, unsigned long arg, const char *name)
{
    int r = ioctl(fd, request, arg);

    if (r < 0) {
        perror(name);
        exit(1);
    }
    return r;
}
#define DO(fd, request, arg) kvm_do(fd, request, (unsigned long)(arg), #request)

static void give_ram(int vm)
{
    static const uint8_t code[] = { 0xba, COM1 & 0xff, COM1 >> 8, 0xee }; /* mov $COM1, %dx; out %al, %dx */
    void *ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct kvm_userspace_memory_region slot = { .memory_size = RAM, .userspace_addr = (uintptr_t)ram };

    if (ram == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    memcpy((uint8_t *)ram + ENTRY, code, sizeof code);
    DO(vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

/* Real mode, flat from 0. */
static void set_registers(int vcpu)
{
    struct kvm_regs regs = { .rip = ENTRY, .rflags = 2, .rax = '@' };
    struct kvm_sregs sregs;

    DO(vcpu, KVM_GET_SREGS, &sregs);
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    DO(vcpu, KVM_SET_SREGS, &sregs);
    DO(vcpu, KVM_SET_REGS, &regs);
}

static void copy_cpuid(int kvm, int vcpu)
{
    struct {
        struct kvm_cpuid2 head;
        struct kvm_cpuid_entry2 entries[256];
    } table = { .head.nent = 256 };

    DO(kvm, KVM_GET_SUPPORTED_CPUID, &table);
    DO(vcpu, KVM_SET_CPUID2, &table);
}

int main(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0) {
        perror("/dev/kvm");
        return 1;
    }
    int vm = DO(kvm, KVM_CREATE_VM, 0);
    DO(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
    DO(vm, KVM_CREATE_IRQCHIP, 0);
    give_ram(vm);
    int vcpu = DO(vm, KVM_CREATE_VCPU, 0);
    struct kvm_run *run = mmap(NULL, (size_t)DO(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    copy_cpuid(kvm, vcpu);
    set_registers(vcpu);
    DO(vcpu, KVM_RUN, 0);
    if (run->exit_reason != KVM_EXIT_IO || run->io.port != COM1) {
        fprintf(stderr, "the guest stopped for reason %u\n", run->exit_reason);
        return 1;
    }
    puts("first byte");
    return 0;
}
