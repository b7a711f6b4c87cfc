/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * linux-loader.c - the device that starts a kernel without firmware: its files are checked when it is plugged, loaded at every
 * power-on.
 *
 * Tables, memory map and kernel are written anew each time, because the guest may have overwritten them and because CPUs may
 * have come or gone since. What the guest sees follows from the rows, the files and the board, so there is no state.
 */
#include "../pci/bus.h"
#include "boot.h"
#include "starter.h"

typedef struct {
    Device     dev;
    BootKernel kernel;
    BootFile   initrd;
} LinuxLoader;

static gboolean open_kernel(LinuxLoader *l, const LinuxLoaderConfig *config, GError **error)
{
    int fd = boot_file_open(&l->dev, "kernel", config->kernel, error);
    gsize len = strlen(config->append);

    if (fd < 0)
        return FALSE;
    if (!boot_kernel_open(&l->kernel, fd, boot_file_name(&l->dev, "kernel", config->kernel), (BootProtocol)config->protocol,
                          error))
        return FALSE;
    if (len <= l->kernel.cmdline_max)
        return TRUE;
    return error_set(error, "Property 'append' of device '%s' has %" G_GSIZE_FORMAT " bytes, kernel '%s' takes %u", l->dev.id,
                     len, config->kernel, l->kernel.cmdline_max);
}

static gboolean open_initrd(LinuxLoader *l, const LinuxLoaderConfig *config, GError **error)
{
    int fd;

    if (!config->initrd)
        return TRUE;
    fd = boot_file_open(&l->dev, "initrd", config->initrd, error);
    return fd >= 0 && boot_file_take(&l->initrd, fd, boot_file_name(&l->dev, "initrd", config->initrd), error);
}

/* A file without a name is not open. */
static void loader_unrealize(Device *dev)
{
    LinuxLoader *l = (LinuxLoader *)dev;

    if (l->kernel.file.name)
        boot_kernel_close(&l->kernel);
    if (l->initrd.name)
        boot_file_close(&l->initrd);
}

static gboolean loader_realize(Device *dev, GError **error)
{
    LinuxLoader *l = (LinuxLoader *)dev;
    const LinuxLoaderConfig *config = DEVICE_CONFIG(dev, LinuxLoaderConfig);

    if (boot_check_alone(dev, error) && open_kernel(l, config, error) && open_initrd(l, config, error))
        return TRUE;
    loader_unrealize(dev);
    return FALSE;
}

static gboolean load(LinuxLoader *l, const MemMap *map, VcpuBoot *boot, GError **error)
{
    DeviceSet *set = l->dev.set;
    const LinuxLoaderConfig *config = DEVICE_CONFIG(l, LinuxLoaderConfig);
    g_autoptr(AcpiTables) acpi = board_take_tables(set);
    g_autoptr(GByteArray) smbios = smbios_build_tables(set);
    g_autoptr(GByteArray) mp = mp_table_build(set);
    g_autoptr(GArray) e820 = mem_e820(set);
    BootMachine m = {
        .map = e820,
        .low_end = mem_below_4g(set),
        .acpi = acpi,
        .smbios = smbios,
        .mp = mp,
        .initrd = l->initrd.name ? &l->initrd : NULL,
        .cmdline = config->append,
    };

    m.ram.regions = mem_map_regions(map, &m.ram.n);
    return boot_load(&l->kernel, &m, boot, error);
}

static gboolean loader_power_on(Device *dev, GError **error)
{
    Vm *vm = device_set_vm(dev->set);
    Device *bsp = boot_find_cpu(dev, "kernel", error);
    VcpuBoot boot;
    MemMap *map;
    gboolean ok;

    if (!bsp)
        return FALSE;
    pci_assign_bridges(dev->set);
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
