/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pvh.c - the PVH start information (Xen's public/arch-x86/hvm/start_info.h, version 1): module list, memory map, RSDP. The kernel
 * starts in 32-bit protected mode with its address in EBX.
 */
#include "boot.h"

enum { PVH_MAGIC = 0x336ec578, AT_MODULE = 0x40, AT_MAP = 0x100, MAP_ENTRY = 24 };

static void write_map(const BootMachine *m)
{
    for (guint i = 0; i < m->map->len; i++) {
        const E820Entry *e = &g_array_index(m->map, E820Entry, i);
        guint8 b[MAP_ENTRY] = {0};

        le64_put(b, e->addr);
        le64_put(b + 8, e->len);
        le32_put(b + 16, e->type);
        boot_ram_write(&m->ram, BOOT_INFO + AT_MAP + i * MAP_ENTRY, b, sizeof b);
    }
}

void boot_pvh_enter(const BootKernel *k, const BootMachine *m, const BootPlaces *p, VcpuBoot *out)
{
    guint8 info[56] = {0}, module[32] = {0};

    le32_put(info, PVH_MAGIC);
    le32_put(info + 4, 1);
    if (p->initrd_len) {
        le32_put(info + 12, 1);
        le64_put(info + 16, BOOT_INFO + AT_MODULE);
        le64_put(module, p->initrd);
        le64_put(module + 8, p->initrd_len);
    }
    le64_put(info + 24, BOOT_CMDLINE);
    le64_put(info + 32, p->rsdp);
    le64_put(info + 40, BOOT_INFO + AT_MAP);
    le32_put(info + 48, m->map->len);
    boot_ram_write(&m->ram, BOOT_INFO, info, sizeof info);
    boot_ram_write(&m->ram, BOOT_INFO + AT_MODULE, module, sizeof module);
    write_map(m);
    *out = (VcpuBoot){.mode = VCPU_BOOT_PROT32, .rip = k->entry, .rsp = BOOT_STACK, .rbx = BOOT_INFO};
}
