/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel loader on tiny kernels of each kind, made here: what stands in RAM afterwards and how the CPU starts, then each
 * way in which a file can be wrong, then machines too small. Real kernels are tried if TEST_VMLINUX or TEST_BZIMAGE name one.
 */
#include "boot-fixture.h"
#include "boot-kernels.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

/* ---- opening and loading ---- */

static char *write_file(const void *bytes, gsize len)
{
    g_autoptr(GError) error = NULL;
    char *path = NULL;
    int fd = g_file_open_tmp("backplane-kernel-XXXXXX", &path, &error);

    g_assert_no_error(error);
    g_assert_cmpint(write(fd, bytes, len), ==, (gssize)len);
    close(fd);
    return path;
}

static int open_fd(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

static gboolean open_path(BootKernel *k, const char *path, BootProtocol protocol, GError **error)
{
    return boot_kernel_open(k, open_fd(path), g_strdup_printf("kernel '%s'", path), protocol, error);
}

static gboolean open_bytes(BootKernel *k, const GByteArray *file, BootProtocol protocol, GError **error)
{
    g_autofree char *path = write_file(file->data, file->len);
    gboolean ok = open_path(k, path, protocol, error);

    g_unlink(path);
    return ok;
}

/* Takes FILE. */
static void open_good(BootKernel *k, GByteArray *file, BootProtocol protocol)
{
    g_autoptr(GError) error = NULL;

    open_bytes(k, file, protocol, &error);
    g_assert_no_error(error);
    g_byte_array_unref(file);
}

static void load_good(BootKernel *k, BootFixture *f, VcpuBoot *boot)
{
    g_autoptr(GError) error = NULL;

    boot_load(k, &f->m, boot, &error);
    g_assert_no_error(error);
}

/* The kernel's bytes at GPA and zeros behind, though RAM was dirty. */
static void check_code(BootFixture *f, guint64 gpa, guint bss)
{
    for (guint i = 0; i < CODE_LEN; i++)
        g_assert_cmpuint(*ram_at(f, gpa + i), ==, (guint8)(i * 7 + (i >> 8)));
    for (guint i = CODE_LEN; i < CODE_LEN + bss; i++)
        g_assert_cmpuint(*ram_at(f, gpa + i), ==, 0);
}

static void dirty(BootFixture *f)
{
    for (guint i = 0; i < CODE_LEN + BSS_LEN; i++)
        *ram_at(f, KERNEL + i) = 0xee;
}

/* RSDP by scanning, then the XSDT's signature; the SMBIOS anchor by scanning. */
static void check_tables(BootFixture *f, guint64 rsdp)
{
    guint64 found = 0, anchor = 0;

    for (guint64 a = 0xe0000; a < 0x100000; a += 16) {
        if (memcmp(ram_at(f, a), "RSD PTR ", 8) == 0)
            found = a;
        if (a >= 0xf0000 && memcmp(ram_at(f, a), "_SM3_", 5) == 0)
            anchor = a;
    }
    g_assert_cmpuint(found, ==, rsdp);
    g_assert_cmpmem(ram_at(f, le64_get(ram_at(f, found) + 24)), 4, "XSDT", 4);
    g_assert_cmpuint(anchor, !=, 0);
    g_assert_cmpmem(ram_at(f, 0x9fc10), 4, "_MP_", 4);
    g_assert_cmpmem(ram_at(f, le32_get(ram_at(f, 0x9fc14))), 4, "PCMP", 4);
    g_assert_cmpuint(le16_get(ram_at(f, 0x40e)) * 16, ==, 0x9fc00);
    g_assert_cmpuint(ram_at(f, le64_get(ram_at(f, anchor) + 16))[1], ==, 0x18); /* type 0's length */
}

/* An initrd of LEN bytes with a pattern. */
static void add_initrd(BootFixture *f, BootFile *initrd, gsize len)
{
    g_autofree guint8 *bytes = g_malloc(len);
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;

    for (gsize i = 0; i < len; i++)
        bytes[i] = i * 3;
    path = write_file(bytes, len);
    boot_file_take(initrd, open_fd(path), g_strdup("initrd"), &error);
    g_assert_no_error(error);
    g_unlink(path);
    f->m.initrd = initrd;
}

static void check_initrd(BootFixture *f, guint64 gpa, gsize len)
{
    g_assert_cmpuint(gpa % 4096, ==, 0);
    for (gsize i = 0; i < len; i++)
        g_assert_cmpuint(*ram_at(f, gpa + i), ==, (guint8)(i * 3));
}

/* The map that a kernel got: sorted, apart, RAM and ACPI ranges right. READ decodes entry I. */
static void check_map(guint n, E820Entry (*read)(BootFixture *, guint64, guint), BootFixture *f, guint64 at)
{
    gboolean acpi = FALSE, bios = FALSE;
    guint64 end = 0;

    for (guint i = 0; i < n; i++) {
        E820Entry e = read(f, at, i);

        g_assert_cmpuint(e.addr, >=, end);
        end = e.addr + e.len;
        acpi |= e.type == E820_ACPI && end == f->m.low_end;
        bios |= e.type == E820_RESERVED && e.addr == 0xf0000;
        if (e.type == E820_RAM)
            g_assert_true(end <= BOOT_EBDA || e.addr >= BOOT_ONE_MIB);
    }
    g_assert_true(acpi && bios);
}

static E820Entry read_pvh(BootFixture *f, guint64 at, guint i)
{
    const guint8 *p = ram_at(f, at + i * 24);

    return (E820Entry){le64_get(p), le64_get(p + 8), le32_get(p + 16)};
}

static E820Entry read_zero_page(BootFixture *f, guint64 at, guint i)
{
    const guint8 *p = ram_at(f, at + i * 20);

    return (E820Entry){le64_get(p), le64_get(p + 8), le32_get(p + 16)};
}

static E820Entry read_multiboot(BootFixture *f, guint64 at, guint i)
{
    const guint8 *p = ram_at(f, at + i * 24);

    g_assert_cmpuint(le32_get(p), ==, 20);
    return (E820Entry){le64_get(p + 4), le64_get(p + 12), le32_get(p + 20)};
}

static void check_pvh(BootFixture *f, const VcpuBoot *boot, gsize initrd_len)
{
    const guint8 *info = ram_at(f, boot->rbx), *module;

    g_assert_cmpint(boot->mode, ==, VCPU_BOOT_PROT32);
    g_assert_cmpuint(boot->rip, ==, KERNEL + 0x10);
    g_assert_cmpuint(le32_get(info), ==, 0x336ec578);
    g_assert_cmpuint(le32_get(info + 4), ==, 1);
    g_assert_cmpuint(le32_get(info + 12), ==, initrd_len ? 1 : 0);
    g_assert_cmpstr((char *)ram_at(f, le64_get(info + 24)), ==, f->m.cmdline);
    check_tables(f, le64_get(info + 32));
    check_map(le32_get(info + 48), read_pvh, f, le64_get(info + 40));
    if (!initrd_len)
        return;
    module = ram_at(f, le64_get(info + 16));
    g_assert_cmpuint(le64_get(module + 8), ==, initrd_len);
    check_initrd(f, le64_get(module), initrd_len);
}

static void run_pvh(GByteArray *file, gsize initrd_len)
{
    BootKernel k;
    BootFixture f;
    BootFile initrd = {.fd = -1};
    VcpuBoot boot;

    /* The border of the regions is within the kernel. */
    boot_fixture_init(&f, MIB(8), KERNEL + 0x1000);
    dirty(&f);
    if (initrd_len)
        add_initrd(&f, &initrd, initrd_len);
    open_good(&k, file, BOOT_ANY);
    g_assert_cmpint(k.protocol, ==, BOOT_PVH);
    load_good(&k, &f, &boot);
    check_code(&f, KERNEL, BSS_LEN);
    check_pvh(&f, &boot, initrd_len);
    boot_kernel_close(&k);
    boot_file_close(&initrd);
    boot_fixture_clear(&f);
}

static void test_pvh(void)
{
    run_pvh(elf64(), 0);
    run_pvh(elf64(), 12345);
    run_pvh(elf32(TRUE), 4096);
    run_pvh(multiboot_elf(TRUE), 0); /* both: PVH wins */
}

static void check_multiboot(BootFixture *f, const VcpuBoot *boot, gsize initrd_len)
{
    const guint8 *info = ram_at(f, boot->rbx), *module;

    g_assert_cmpint(boot->mode, ==, VCPU_BOOT_PROT32);
    g_assert_cmpuint(boot->rax, ==, 0x2badb002);
    g_assert_cmpuint(le32_get(info) & ~8u, ==, 0x245);
    g_assert_cmpuint(le32_get(info + 4), ==, 639);
    g_assert_cmpuint(le32_get(info + 8), >, 6 * 1024);
    g_assert_cmpuint(le32_get(info + 8), <, 7 * 1024);
    g_assert_cmpstr((char *)ram_at(f, le32_get(info + 16)), ==, f->m.cmdline);
    g_assert_cmpstr((char *)ram_at(f, le32_get(info + 64)), ==, "Backplane");
    check_tables(f, 0xf0000);
    check_map(le32_get(info + 44) / 24, read_multiboot, f, le32_get(info + 48));
    if (!initrd_len)
        return;
    g_assert_cmpuint(le32_get(info + 20), ==, 1);
    module = ram_at(f, le32_get(info + 24));
    g_assert_cmpuint(le32_get(module + 4) - le32_get(module), ==, initrd_len);
    g_assert_cmpuint(le32_get(module), ==, KERNEL + 0x5000); /* the first page behind */
    check_initrd(f, le32_get(module), initrd_len);
}

static void run_multiboot(GByteArray *file, BootProtocol protocol, guint64 entry, gsize initrd_len)
{
    BootKernel k;
    BootFixture f;
    BootFile initrd = {.fd = -1};
    VcpuBoot boot;

    boot_fixture_init(&f, MIB(8), KERNEL + 0x1000);
    dirty(&f);
    if (initrd_len)
        add_initrd(&f, &initrd, initrd_len);
    open_good(&k, file, protocol);
    g_assert_cmpint(k.protocol, ==, BOOT_MULTIBOOT);
    load_good(&k, &f, &boot);
    g_assert_cmpuint(boot.rip, ==, entry);
    if (entry == KERNEL + 0x20)
        check_code(&f, KERNEL, BSS_LEN);
    check_multiboot(&f, &boot, initrd_len);
    boot_kernel_close(&k);
    boot_file_close(&initrd);
    boot_fixture_clear(&f);
}

static void test_multiboot(void)
{
    run_multiboot(multiboot_elf(FALSE), BOOT_ANY, KERNEL + 0x20, 0);
    run_multiboot(multiboot_elf(TRUE), BOOT_MULTIBOOT, KERNEL + 0x20, 1000);
    run_multiboot(multiboot_flat(), BOOT_ANY, KERNEL + 0x60, 1);
}

static void check_linux(BootFixture *f, const VcpuBoot *boot, guint64 load, gsize initrd_len)
{
    const guint8 *zp = ram_at(f, boot->rsi), *gdt = ram_at(f, boot->gdt);
    guint64 pdpt, pd;

    g_assert_cmpint(boot->mode, ==, VCPU_BOOT_LONG64);
    g_assert_cmpuint(boot->rip, ==, load + 0x200);
    g_assert_cmpmem(zp + 0x202, 4, "HdrS", 4);
    g_assert_cmpuint(le16_get(zp + 0x1fe), ==, 0xaa55);
    g_assert_cmpuint(zp[0x210], ==, 0xff);
    g_assert_cmpuint(le32_get(zp + 0x214), ==, load);
    g_assert_cmpstr((char *)ram_at(f, le32_get(zp + 0x228)), ==, f->m.cmdline);
    check_tables(f, le64_get(zp + 0x70));
    check_map(zp[0x1e8], read_zero_page, f, boot->rsi + 0x2d0);
    g_assert_cmpuint(le32_get(zp + 0x21c), ==, initrd_len);
    if (initrd_len)
        check_initrd(f, le32_get(zp + 0x218), initrd_len);
    /* the page that maps 3 GiB + 2 MiB */
    pdpt = le64_get(ram_at(f, boot->cr3)) & ~0xfffu;
    pd = le64_get(ram_at(f, pdpt + 3 * 8)) & ~0xfffu;
    g_assert_cmphex(le64_get(ram_at(f, pd + 8)), ==, 0xc0200083);
    g_assert_cmpuint(boot->gdt_limit, ==, 31);
    g_assert_cmphex(gdt[0x10 + 5], ==, 0x9b); /* 64-bit code */
    g_assert_cmphex(gdt[0x10 + 6], ==, 0xaf);
    g_assert_cmphex(gdt[0x18 + 5], ==, 0x93);
}

static void run_linux(guint64 ram, guint64 load, gsize initrd_len)
{
    BootKernel k;
    BootFixture f;
    BootFile initrd = {.fd = -1};
    VcpuBoot boot;

    boot_fixture_init(&f, ram, MIB(1) + 0x100000);
    if (initrd_len)
        add_initrd(&f, &initrd, initrd_len);
    open_good(&k, bzimage(), BOOT_ANY);
    load_good(&k, &f, &boot);
    check_code(&f, load, 0);
    check_linux(&f, &boot, load, initrd_len);
    boot_kernel_close(&k);
    boot_file_close(&initrd);
    boot_fixture_clear(&f);
}

static void test_linux(void)
{
    run_linux(MIB(64), 0x1000000, 0);
    run_linux(MIB(64), 0x1000000, 70000);
    run_linux(MIB(8), 0x200000, 5000); /* too small for its preference: it moves */
}

/* An initrd stays below initrd_addr_max. */
static void test_linux_initrd_max(void)
{
    GByteArray *file = bzimage();
    BootKernel k;
    BootFixture f;
    BootFile initrd = {.fd = -1};
    VcpuBoot boot;

    le32_put(file->data + 0x22c, 0x1ffffff);
    boot_fixture_init(&f, MIB(64), MIB(4));
    add_initrd(&f, &initrd, 9000);
    open_good(&k, file, BOOT_LINUX);
    load_good(&k, &f, &boot);
    g_assert_cmphex(le32_get(ram_at(&f, boot.rsi) + 0x218), ==, (0x2000000 - 9000) & ~0xfffu);
    boot_kernel_close(&k);
    boot_file_close(&initrd);
    boot_fixture_clear(&f);
}

/* ---- wrong files ---- */

static GByteArray *make(char kind)
{
    switch (kind) {
    case 'E':
        return elf64();
    case 'e':
        return elf32(TRUE);
    case 'm':
        return multiboot_elf(FALSE);
    case 'f':
        return multiboot_flat();
    default:
        return bzimage();
    }
}

/* A good file of KIND with SIZE bytes at AT replaced by VALUE, or cut to AT bytes (size 0). */
static const struct {
    char         kind;
    guint        at, size;
    guint64      value;
    BootProtocol protocol;
    const char  *message;
} wrong[] = {
    {'E', 3, 0, 0, BOOT_ANY, "no kernel of a known kind"},
    {'E', 4, 0, 0, BOOT_ANY, "truncated or corrupt: its ELF header needs 0x34 bytes"},
    {'E', 63, 0, 0, BOOT_ANY, "its ELF header needs 0x40 bytes at offset 0x0, the file has 0x3f"},
    {'E', 100, 0, 0, BOOT_ANY, "its ELF program header table needs 0x70 bytes"},
    {'E', CODE_AT + 10, 0, 0, BOOT_ANY, "its segment needs 0x1800 bytes at offset 0x1000, the file has 0x100a"},
    {'E', 4, 1, 3, BOOT_ANY, "ELF class is 3; 1 or 2 expected"},
    {'E', 5, 1, 2, BOOT_ANY, "ELF data encoding is 2"},
    {'E', 16, 2, 1, BOOT_ANY, "ELF type is 1; 2 or 3 expected"},
    {'E', 18, 2, 183, BOOT_ANY, "ELF machine is 183; 3 or 62 expected (i386 or x86-64)"},
    {'E', 32, 8, G_MAXUINT64 - 8, BOOT_ANY, "program header table"},
    {'E', 54, 2, 32, BOOT_ANY, "program headers have 32 bytes, 56 expected"},
    {'E', 56, 2, 0, BOOT_ANY, "0 program headers"},
    {'E', 56, 2, 0xffff, BOOT_ANY, "65535 program headers"},
    {'E', 64, 4, 2, BOOT_ANY, "without anything to load"},
    {'E', 64 + 8, 8, G_MAXUINT64 - 2, BOOT_ANY, "its segment needs"},
    {'E', 64 + 24, 8, 0xffffffff, BOOT_ANY, "is not below 4 GiB"},
    {'E', 64 + 24, 8, G_MAXUINT64 - 16, BOOT_ANY, "is not below 4 GiB"},
    {'E', 64 + 32, 8, CODE_LEN + BSS_LEN + 1, BOOT_ANY, "more than its 0x4800 in memory"},
    {'E', 64 + 32, 8, G_MAXUINT64, BOOT_ANY, "more than its 0x4800 in memory"},
    {'E', 64 + 40, 8, G_MAXUINT64, BOOT_ANY, "is not below 4 GiB"},
    {'E', 120 + 8, 8, 0x100000, BOOT_ANY, "its note segment needs"},
    {'E', 120 + 32, 8, G_MAXUINT64, BOOT_ANY, "its note segment needs"},
    {'E', NOTE_AT + 20 + 8, 4, 17, BOOT_ANY, "without a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) or multiboot header"},
    {'E', NOTE_AT + 20, 4, 0xffffffff, BOOT_ANY, "without a PVH note"},
    {'E', NOTE_AT + 20 + 16, 8, 0x100, BOOT_ANY, "entry point 0x100 is in none of its segments"},
    {'E', 0, 1, 0x7f, BOOT_LINUX, "ELF file that can not be started by protocol 'linux'"},
    {'E', 0, 1, 0x7f, BOOT_MULTIBOOT, "ELF file that can not be started by protocol 'multiboot'"},
    {'e', 51, 0, 0, BOOT_ANY, "its ELF header needs 0x34 bytes"},
    {'e', 52 + 12, 4, 0xfffffff0, BOOT_ANY, "is not below 4 GiB"},
    {'e', 52 + 16, 4, 0xffffffff, BOOT_ANY, "more than its 0x4800 in memory"},
    {'m', 24, 4, 0x10, BOOT_ANY, "entry point 0x10 is in none"},
    {'m', 0x208, 4, 0, BOOT_ANY, "without a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) or multiboot header"},
    {'m', 0, 1, 0, BOOT_ANY, "multiboot header without addresses and is no ELF file"},
    {'m', 0, 1, 0x7f, BOOT_PVH, "can not be started by protocol 'pvh'"},
    {'f', FLAT_HEADER + 20, 0, 0, BOOT_ANY, "its multiboot header needs 0x20 bytes at offset 0x40"},
    {'f', FLAT_HEADER + 12, 4, KERNEL - 1, BOOT_ANY, "do not fit the header's offset 0x40"},
    {'f', FLAT_HEADER + 12, 4, KERNEL + 0x41, BOOT_ANY, "do not fit the header's offset 0x40"},
    {'f', FLAT_HEADER + 20, 4, KERNEL - 1, BOOT_ANY, "load_end_addr 0x1fffff is below load_addr 0x200000"},
    {'f', FLAT_HEADER + 20, 4, 0xf0000000, BOOT_ANY, "below the end of the image"},
    {'f', FLAT_HEADER + 24, 4, KERNEL + 1, BOOT_ANY, "bss_end_addr 0x200001 is below the end of the image 0x201800"},
    {'f', FLAT_HEADER + 28, 4, 0, BOOT_ANY, "entry point 0x0 is in none"},
    {'f', 0, 1, 0, BOOT_LINUX, "can not be started by protocol 'linux'"},
    {'b', BZ_SETUP + 100, 0, 0, BOOT_ANY, "its protected-mode kernel needs 0x201 bytes"},
    {'b', 0x260, 0, 0, BOOT_ANY, "its setup header needs 0x268 bytes"},
    {'b', 0x1f1, 1, 0xff, BOOT_ANY, "its protected-mode kernel needs 0x201 bytes at offset 0x20000"},
    {'b', 0x1fe, 2, 0, BOOT_ANY, "no kernel of a known kind"},
    {'b', 0x201, 1, 0x10, BOOT_ANY, "setup header ends at 0x212"},
    {'b', 0x201, 1, 0xff, BOOT_ANY, "setup header ends at 0x301"},
    {'b', 0x206, 2, 0x0208, BOOT_ANY, "Linux boot protocol 2.08; 2.12 or later expected"},
    {'b', 0x211, 1, 0, BOOT_ANY, "is a zImage"},
    {'b', 0x236, 2, 0x3e, BOOT_ANY, "no 64-bit entry (xloadflags 0x3e"},
    {'b', 0x230, 4, 0, BOOT_ANY, "kernel_alignment 0x0 is not a power of 2"},
    {'b', 0x230, 4, 0x300000, BOOT_ANY, "kernel_alignment 0x300000 is not a power of 2"},
    {'b', 0x230, 4, 0x80000000, BOOT_ANY, "kernel_alignment 0x80000000 is not a power of 2 up to 1 GiB"},
    {'b', 0x258, 8, 0x1000, BOOT_ANY, "pref_address 0x1000"},
    {'b', 0x258, 8, G_MAXUINT64, BOOT_ANY, "pref_address 0xffffffffffffffff"},
    {'b', 0x260, 4, 0xffffffff, BOOT_ANY, "init_size 0xffffffff"},
    {'b', 0, 1, 0, BOOT_PVH, "can not be started by protocol 'pvh'"},
};

static void check_wrong(guint i)
{
    g_autoptr(GByteArray) file = make(wrong[i].kind);
    g_autoptr(GError) error = NULL;
    BootKernel k;

    if (wrong[i].size == 0)
        g_byte_array_set_size(file, wrong[i].at);
    else
        le_put(file->data + wrong[i].at, wrong[i].size, wrong[i].value);
    if (open_bytes(&k, file, wrong[i].protocol, &error))
        g_error("case %u (%s) was accepted", i, wrong[i].message);
    if (!strstr(error->message, wrong[i].message))
        g_error("case %u: '%s' expected in '%s'", i, wrong[i].message, error->message);
    g_assert_nonnull(strstr(error->message, "kernel '/"));
    g_assert_cmpint(k.file.fd, ==, -1);
}

static void test_wrong(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(wrong); i++)
        check_wrong(i);
}

/* Each prefix of each good kernel either opens or gives one error; none is read beyond. */
static void test_prefixes(void)
{
    for (const char *kind = "Eemfb"; *kind; kind++) {
        g_autoptr(GByteArray) file = make(*kind);

        for (guint len = file->len - 1; len > 0; len -= MIN(len, len > 0x700 ? 501 : 3)) {
            g_autoptr(GByteArray) cut = g_byte_array_new();
            g_autoptr(GError) error = NULL;
            BootKernel k;

            g_byte_array_append(cut, file->data, len);
            if (open_bytes(&k, cut, BOOT_ANY, &error))
                boot_kernel_close(&k);
            else
                g_assert_nonnull(error);
        }
    }
}

static void test_segments_overlap(void)
{
    g_autoptr(GByteArray) file = elf64();
    g_autoptr(GError) error = NULL;
    BootKernel k;

    put_phdr64(file->data + 120, 1, CODE_AT, 0, KERNEL + CODE_LEN, 16, 16);
    g_assert_false(open_bytes(&k, file, BOOT_ANY, &error));
    g_assert_nonnull(strstr(error->message, "segments overlap: 0x200000-0x2047ff and 0x201800-0x20180f"));
}

/* A multiboot header that requires what nobody knows. */
static void test_multiboot_flags(void)
{
    g_autoptr(GByteArray) file = multiboot_elf(FALSE);
    g_autoptr(GError) error = NULL;
    BootKernel k;

    put_multiboot(file->data + 0x200, 0x13);
    g_assert_false(open_bytes(&k, file, BOOT_ANY, &error));
    g_assert_nonnull(strstr(error->message, "multiboot flags 0x13"));
}

static void check_path(const char *path, const char *message)
{
    g_autoptr(GError) error = NULL;
    BootKernel k;

    g_assert_false(open_path(&k, path, BOOT_ANY, &error));
    if (!strstr(error->message, message) || !strstr(error->message, "kernel '/"))
        g_error("'%s' expected in '%s'", message, error->message);
}

static void test_paths(void)
{
    g_autofree char *dir = g_dir_make_tmp("backplane-loader-XXXXXX", NULL);
    g_autofree char *fifo = g_build_filename(dir, "fifo", NULL), *empty = g_build_filename(dir, "empty", NULL);

    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    g_assert_true(g_file_set_contents(empty, "", 0, NULL));
    check_path(dir, "is a directory, not a file");
    check_path(fifo, "is not a regular file");
    check_path(empty, "is empty");
    g_unlink(fifo);
    g_unlink(empty);
    g_rmdir(dir);
}

/* ---- machines too small, and other failures of loading ---- */

/* Takes FILE; loading it with RAM bytes and an initrd of INITRD_LEN fails with MESSAGE. */
static void check_load_fails(GByteArray *file, guint64 ram, gsize initrd_len, const char *cmdline, const char *message)
{
    g_autoptr(GError) error = NULL;
    BootKernel k;
    BootFixture f;
    BootFile initrd = {.fd = -1};
    VcpuBoot boot;

    boot_fixture_init(&f, ram, 0x80000);
    if (cmdline)
        f.m.cmdline = cmdline;
    if (initrd_len)
        add_initrd(&f, &initrd, initrd_len);
    open_good(&k, file, BOOT_ANY);
    g_assert_false(boot_load(&k, &f.m, &boot, &error));
    if (!strstr(error->message, message))
        g_error("'%s' expected in '%s'", message, error->message);
    boot_kernel_close(&k);
    boot_file_close(&initrd);
    boot_fixture_clear(&f);
}

static GByteArray *flat_at(guint32 load)
{
    GByteArray *file = multiboot_flat();
    guint8 *p = file->data + FLAT_HEADER;

    le32_put(p + 12, load + 0x20);
    le32_put(p + 16, load);
    le32_put(p + 24, load + CODE_LEN + BSS_LEN);
    le32_put(p + 28, load + 0x60);
    return file;
}

static void test_too_small(void)
{
    g_autofree char *long_line = g_strnfill(2048, 'x');

    check_load_fails(elf64(), MIB(1), 0, NULL, "not enough RAM: ACPI and SMBIOS tables");
    check_load_fails(elf64(), MIB(2), 0, NULL, "not enough RAM: the kernel needs 2066 KiB, there are 20");
    check_load_fails(bzimage(), MIB(2), 0, NULL, "not enough RAM: the kernel needs 3072 KiB");
    check_load_fails(elf64(), MIB(4), MIB(2), NULL, "not enough RAM: it has 2048 KiB, there are 20");
    check_load_fails(multiboot_flat(), MIB(4), MIB(2), NULL, "not enough RAM: it has 2048 KiB");
    check_load_fails(bzimage(), MIB(4), MIB(1), NULL, "not enough RAM: it has 1024 KiB");
    check_load_fails(bzimage(), MIB(8), 0, long_line, "command line has 2048 bytes, the kernel takes 2047");
    check_load_fails(flat_at(0x8000), MIB(8), 0, NULL, "overlaps the start information at 0x1000-0x11fff");
    check_load_fails(flat_at(0x9f000), MIB(8), 0, NULL, "overlaps the area of video memory and BIOS");
}

/* A file that shrinks between plug and power-on. */
static void test_shrinks(void)
{
    g_autoptr(GByteArray) file = elf64();
    g_autofree char *path = write_file(file->data, file->len);
    g_autoptr(GError) error = NULL;
    BootKernel k;
    BootFixture f;
    VcpuBoot boot;

    boot_fixture_init(&f, MIB(8), MIB(1));
    g_assert_true(open_path(&k, path, BOOT_ANY, &error));
    g_assert_cmpint(truncate(path, CODE_AT + 100), ==, 0);
    g_assert_false(boot_load(&k, &f.m, &boot, &error));
    g_assert_nonnull(strstr(error->message, "became shorter while it was read"));
    g_unlink(path);
    boot_kernel_close(&k);
    boot_fixture_clear(&f);
}

/* ---- the memory map ---- */

static void check_entry(const GArray *map, guint i, guint64 addr, guint64 len, guint32 type)
{
    const E820Entry *e = &g_array_index(map, E820Entry, i);

    g_assert_cmphex(e->addr, ==, addr);
    g_assert_cmphex(e->len, ==, len);
    g_assert_cmpuint(e->type, ==, type);
}

static void test_map_set(void)
{
    g_autoptr(GArray) map = g_array_new(FALSE, FALSE, sizeof(E820Entry));

    boot_map_set(map, 0, 0x10000, E820_RAM);
    boot_map_set(map, 0x4000, 0x1000, E820_ACPI); /* within: three pieces */
    g_assert_cmpuint(map->len, ==, 3);
    check_entry(map, 0, 0, 0x4000, E820_RAM);
    check_entry(map, 1, 0x4000, 0x1000, E820_ACPI);
    check_entry(map, 2, 0x5000, 0xb000, E820_RAM);
    boot_map_set(map, 0x3000, 0x3000, E820_NVS); /* over a whole entry and parts of two */
    g_assert_cmpuint(map->len, ==, 3);
    check_entry(map, 1, 0x3000, 0x3000, E820_NVS);
    boot_map_set(map, 0x6000, 0x100000, 0); /* a hole to beyond the end */
    g_assert_cmpuint(map->len, ==, 2);
}

/* ---- real kernels ---- */

static void load_real(const char *variable, BootProtocol protocol)
{
    const char *path = g_getenv(variable);
    g_autoptr(GError) error = NULL;
    BootKernel k;
    BootFixture f;
    VcpuBoot boot;
    gint64 t;

    if (!path) {
        g_test_skip("the variable does not name a kernel");
        return;
    }
    boot_fixture_init(&f, MIB(256), MIB(24));
    open_path(&k, path, BOOT_ANY, &error);
    g_assert_no_error(error);
    g_assert_cmpint(k.protocol, ==, protocol);
    t = g_get_monotonic_time();
    load_good(&k, &f, &boot);
    g_test_message("loaded in %" G_GINT64_FORMAT " us, entry 0x%" G_GINT64_MODIFIER "x", g_get_monotonic_time() - t, boot.rip);
    boot_kernel_close(&k);
    boot_fixture_clear(&f);
}

static void test_real_pvh(void)
{
    load_real("TEST_VMLINUX", BOOT_PVH);
}

static void test_real_bzimage(void)
{
    load_real("TEST_BZIMAGE", BOOT_LINUX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loader/pvh", test_pvh);
    g_test_add_func("/loader/multiboot", test_multiboot);
    g_test_add_func("/loader/linux", test_linux);
    g_test_add_func("/loader/linux/initrd-max", test_linux_initrd_max);
    g_test_add_func("/loader/wrong", test_wrong);
    g_test_add_func("/loader/wrong/prefixes", test_prefixes);
    g_test_add_func("/loader/wrong/overlap", test_segments_overlap);
    g_test_add_func("/loader/wrong/multiboot-flags", test_multiboot_flags);
    g_test_add_func("/loader/wrong/paths", test_paths);
    g_test_add_func("/loader/too-small", test_too_small);
    g_test_add_func("/loader/shrinks", test_shrinks);
    g_test_add_func("/loader/map-set", test_map_set);
    g_test_add_func("/loader/real/pvh", test_real_pvh);
    g_test_add_func("/loader/real/bzimage", test_real_bzimage);
    return g_test_run();
}
