/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * linux-loader.c - the device that starts a kernel without firmware: its files are checked when it is plugged, loaded at every
 * power-on.
 *
 * Tables, memory map and kernel are written anew each time, because the guest may have overwritten them and because CPUs may
 * have come or gone since. What the guest sees follows from the rows, the files and the board, so there is no state.
 */
#include "../acpi/view.h"
#include "../cpu/cpu.h"
#include "boot.h"

typedef struct {
    Device     dev;
    BootKernel kernel;
    BootFile   initrd;
} LinuxLoader;

static gboolean loader_realize(Device *dev, GError **error)
{
    LinuxLoader *l = (LinuxLoader *)dev;
    const LinuxLoaderConfig *config = DEVICE_CONFIG(dev, LinuxLoaderConfig);
    g_autofree char *kernel = g_strdup_printf("linux-loader '%s': kernel", dev->id);
    g_autofree char *initrd = g_strdup_printf("linux-loader '%s': initrd", dev->id);
    gsize len = config->append ? strlen(config->append) : 0;

    l->initrd.fd = -1;
    if (!boot_kernel_open(&l->kernel, kernel, config->kernel, (BootProtocol)config->protocol, error))
        return FALSE;
    if (len > l->kernel.cmdline_max)
        return error_set(error, "linux-loader '%s': append has %" G_GSIZE_FORMAT " bytes, kernel '%s' takes %u", dev->id, len,
                         config->kernel, l->kernel.cmdline_max);
    return !config->initrd || boot_file_open(&l->initrd, initrd, config->initrd, error);
}

static void loader_unrealize(Device *dev)
{
    LinuxLoader *l = (LinuxLoader *)dev;

    /* A realize that failed early left them closed, and one never tried left zeros. */
    if (l->kernel.file.name)
        boot_kernel_close(&l->kernel);
    if (l->initrd.name)
        boot_file_close(&l->initrd);
}

static gboolean load(LinuxLoader *l, const MemMap *map, VcpuBoot *boot, GError **error)
{
    DeviceSet *set = l->dev.set;
    const LinuxLoaderConfig *config = DEVICE_CONFIG(l, LinuxLoaderConfig);
    g_autoptr(AcpiTables) acpi = acpi_build(set);
    g_autoptr(GByteArray) smbios = smbios_build_tables(set);
    g_autoptr(GArray) e820 = mem_e820(set);
    BootMachine m = {
        .map = e820,
        .low_end = mem_below_4g(set),
        .acpi = acpi,
        .smbios = smbios,
        .initrd = l->initrd.name ? &l->initrd : NULL,
        .cmdline = config->append ? config->append : "",
    };

    m.ram.regions = mem_map_regions(map, &m.ram.n);
    return boot_load(&l->kernel, &m, boot, error);
}

static gboolean loader_power_on(Device *dev, GError **error)
{
    Vm *vm = device_set_vm(dev->set);
    Device *bsp = cpu_bsp(dev->set);
    VcpuBoot boot;
    MemMap *map;
    gboolean ok;

    if (!bsp)
        return error_set(error, "linux-loader '%s': there is no CPU to start the kernel on", dev->id);
    map = vm_memory_ref_map(vm);
    ok = load((LinuxLoader *)dev, map, &boot, error);
    vm_memory_unref_map(vm, map);
    return ok && vcpu_set_boot(cpu_vcpu(bsp), &boot, error);
}

static const DeviceOps linux_loader_ops = {
    .realize = loader_realize,
    .power_on = loader_power_on,
    .unrealize = loader_unrealize,
};

const DeviceType linux_loader_type = {
    .name = "linux-loader",
    .size = sizeof(LinuxLoader),
    .ops = &linux_loader_ops,
    .state = state_none,
};
