/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fuzz-loader.c - libFuzzer target for the kernel loaders: the first byte chooses the protocol, the rest is the file. Guest RAM
 * lies between pages that nobody may touch, so a byte read or written outside of it ends the run.
 */
#include "tests/device/boot-fixture.h"

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size);

/* Tables of the smallest size: building the real ones would be most of the run. */
static AcpiTables *small_tables(void)
{
    AcpiTables *t = g_new0(AcpiTables, 1);

    t->blob = g_byte_array_new();
    g_byte_array_set_size(t->blob, 64);
    memset(t->blob->data, 0, 64);
    t->pointers = g_array_new(FALSE, FALSE, sizeof(AcpiPointer));
    t->tables = g_array_new(FALSE, FALSE, sizeof(AcpiTable));
    return t;
}

static void load(const BootKernel *k)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(AcpiTables) acpi = small_tables();
    g_autoptr(GByteArray) smbios = g_byte_array_new(), mp = g_byte_array_new();
    BootFixture f = {0};
    VcpuBoot boot;

    boot_fixture_ram(&f, MIB(4), MIB(2) + 4096);
    f.m.acpi = acpi;
    f.m.smbios = smbios;
    f.m.mp = mp;
    f.m.cmdline = "x";
    if (boot_load(k, &f.m, &boot, &error))
        g_assert(boot.rip < G_GUINT64_CONSTANT(1) << 32);
    else
        g_assert(error && *error->message);
    boot_fixture_ram_clear(&f);
}

int LLVMFuzzerTestOneInput(const guint8 *data, gsize size)
{
    g_autoptr(GError) error = NULL;
    BootKernel k;
    int fd;

    if (size < 1)
        return 0;
    fd = memfd_create("kernel", MFD_CLOEXEC);
    g_assert(fd >= 0 && write(fd, data + 1, size - 1) == (gssize)(size - 1));
    if (boot_kernel_open(&k, fd, g_strdup("kernel"), (BootProtocol)(data[0] % 4), &error)) {
        load(&k);
        boot_kernel_close(&k);
    } else {
        g_assert(error && *error->message);
        g_assert(g_utf8_validate(error->message, -1, NULL));
    }
    return 0;
}
