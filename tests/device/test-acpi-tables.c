/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ACPI tables of several machines: structure, checksums and pointers as a guest checks them, what each table says, and
 * the whole set through ACPICA's own tools where they are installed.
 */
#include "acpi-fixture.h"

#include <glib/gstdio.h>

#include "common/util.h"

#define BASE G_GUINT64_CONSTANT(0x7ffd0000)

static guint8 sum(const guint8 *p, gsize n)
{
    guint8 s = 0;

    while (n--)
        s += *p++;
    return s;
}

/* The table at guest address ADDR of a blob relocated to BASE. */
static const guint8 *at(const AcpiTables *t, guint64 addr)
{
    g_assert_cmpuint(addr, >=, BASE);
    g_assert_cmpuint(addr - BASE, <, t->blob->len);
    return t->blob->data + (addr - BASE);
}

/* Walks RSDP and XSDT as a guest does. NULL if there is no such table. */
static const guint8 *find_table(const AcpiTables *t, const char *signature)
{
    const guint8 *xsdt = at(t, le64_get(t->rsdp + 24));
    const guint8 *fadt = at(t, le64_get(xsdt + 36));

    if (g_str_equal(signature, "DSDT"))
        return at(t, le64_get(fadt + 140));
    for (guint i = 36; i < le32_get(xsdt + 4); i += 8) {
        const guint8 *p = at(t, le64_get(xsdt + i));

        if (memcmp(p, signature, 4) == 0)
            return p;
    }
    return NULL;
}

static AcpiTables *build(const Fixture *f)
{
    AcpiTables *t = acpi_build_view(&f->view);

    acpi_relocate(t, BASE);
    return t;
}

static void check_structure(const AcpiTables *t)
{
    const guint8 *xsdt = at(t, le64_get(t->rsdp + 24));

    g_assert_cmpmem(t->rsdp, 8, "RSD PTR ", 8);
    g_assert_cmpuint(sum(t->rsdp, 20), ==, 0);
    g_assert_cmpuint(sum(t->rsdp, 36), ==, 0);
    g_assert_cmpmem(xsdt, 4, "XSDT", 4);
    g_assert_cmpuint(sum(xsdt, le32_get(xsdt + 4)), ==, 0);
    for (guint i = 36; i < le32_get(xsdt + 4); i += 8) {
        const guint8 *p = at(t, le64_get(xsdt + i));

        g_assert_cmpuint(sum(p, le32_get(p + 4)), ==, 0);
        g_assert_cmpmem(p + 10, 14, "BACKPLBACKPLAN", 14);
    }
    xsdt = find_table(t, "DSDT");
    g_assert_cmpmem(xsdt, 4, "DSDT", 4);
    g_assert_cmpuint(sum(xsdt, le32_get(xsdt + 4)), ==, 0);
}

/* The RSDT is the XSDT with pointers of 32 bits: some readers know nothing else (GRUB's halt), whatever the RSDP's revision. */
static void check_rsdt(const AcpiTables *t)
{
    const guint8 *rsdt = at(t, le32_get(t->rsdp + 16)), *xsdt = at(t, le64_get(t->rsdp + 24));
    guint n = (le32_get(xsdt + 4) - 36) / 8;

    g_assert_cmpmem(rsdt, 4, "RSDT", 4);
    g_assert_cmpuint(sum(rsdt, le32_get(rsdt + 4)), ==, 0);
    g_assert_cmpuint(le32_get(rsdt + 4), ==, 36 + 4 * n);
    g_assert_cmpuint(n, >=, 4);
    for (guint i = 0; i < n; i++)
        g_assert_cmpuint(le32_get(rsdt + 36 + 4 * i), ==, le64_get(xsdt + 36 + 8 * i));
}

static void test_structure(void)
{
    static const struct { guint max_cpus, plugged; guint64 ram, max_ram; } machines[] = {
        {1, 1, MIB(512), MIB(512)}, {8, 2, GIB(6), GIB(64)}, {240, 64, GIB(64), GIB(1024)}, {1024, 1024, GIB(1), GIB(2)},
    };

    for (guint i = 0; i < G_N_ELEMENTS(machines); i++) {
        g_auto(Fixture) f = {0};
        g_autoptr(AcpiTables) t = NULL;

        fixture_init(&f, machines[i].max_cpus, machines[i].plugged, machines[i].ram, machines[i].max_ram);
        t = build(&f);
        check_structure(t);
        check_rsdt(t);
        g_assert_true((find_table(t, "SRAT") != NULL) == (machines[i].max_ram > machines[i].ram));
        g_assert_null(find_table(t, "HPET"));
    }
}

/* Same rows, same bytes; and the rows are where they come from. */
static void test_deterministic(void)
{
    g_auto(Fixture) f = {0}, g = {0};
    g_autoptr(AcpiTables) a = NULL, b = NULL, c = NULL;

    fixture_init(&f, 8, 2, GIB(6), GIB(64));
    fixture_init(&g, 8, 2, GIB(6), GIB(64));
    a = build(&f);
    b = build(&g);
    g_assert_cmpmem(a->blob->data, a->blob->len, b->blob->data, b->blob->len);
    prop_bag_set_s(g.bag, "acpi-oem-id", "XY", ORIGIN_CONFIG);
    c = build(&g);
    g_assert_cmpmem(find_table(c, "APIC") + 10, 6, "XY    ", 6);
}

/* A generic address must say what its legacy twin says, or Linux complains. */
static void check_gas(const guint8 *gas, guint32 port, guint bits)
{
    g_assert_cmpuint(gas[0], ==, 1);
    g_assert_cmpuint(gas[1], ==, bits);
    g_assert_cmpuint(le64_get(gas + 4), ==, port);
}

static void test_fadt(void)
{
    g_auto(Fixture) f = {0};
    g_autoptr(AcpiTables) t = NULL;
    const guint8 *p;

    fixture_init(&f, 2, 1, GIB(1), GIB(1));
    prop_bag_set_u(f.bag, "pm-base", 0xb000, ORIGIN_CONFIG);
    prop_bag_set_u(f.bag, "sci-irq", 10, ORIGIN_CONFIG);
    t = build(&f);
    p = find_table(t, "FACP");
    g_assert_cmpuint(le32_get(p + 4), ==, 276);
    g_assert_cmpuint(p[8], ==, 6);
    g_assert_cmpuint(le16_get(p + 46), ==, 10);
    g_assert_cmpuint(le32_get(p + 48), ==, 0); /* SMI_CMD */
    g_assert_cmpuint(le32_get(p + 56), ==, 0xb000);
    g_assert_cmpuint(le32_get(p + 64), ==, 0xb004);
    g_assert_cmpuint(le32_get(p + 76), ==, 0xb008);
    g_assert_cmpuint(le32_get(p + 80), ==, 0xb020);
    check_gas(p + 148, 0xb000, p[88] * 8);
    check_gas(p + 172, 0xb004, p[89] * 8);
    check_gas(p + 208, 0xb008, p[91] * 8);
    check_gas(p + 220, 0xb020, p[92] * 8);
    check_gas(p + 116, 0xcf9, 8);
    g_assert_cmpuint(p[128], ==, 6);
    g_assert_cmpuint(le32_get(p + 112) & 1 << 10, !=, 0);  /* RESET_REG_SUP */
    g_assert_cmpuint(le32_get(p + 112) & 1 << 20, ==, 0);  /* not hardware-reduced */
    g_assert_cmpuint(le32_get(p + 112) & 1 << 4, ==, 0);   /* fixed power button */
    g_assert_cmpuint(le32_get(p + 40), ==, le64_get(p + 140));
    g_assert_cmpuint(le64_get(p + 132), ==, 0);
    g_assert_cmpuint(le32_get(p + 36) % 64, ==, 0);
    g_assert_cmpmem(at(t, le32_get(p + 36)), 4, "FACS", 4);
    g_assert_cmpuint(le32_get(at(t, le32_get(p + 36)) + 4), ==, 64);
}

/* Counts MADT or SRAT entries of TYPE whose flags at FLAGS_AT are FLAGS. */
static guint count_entries(const guint8 *table, guint from, guint8 type, guint flags_at, guint32 flags)
{
    guint n = 0;

    for (guint i = from; i < le32_get(table + 4); i += table[i + 1]) {
        g_assert_cmpuint(table[i + 1], >=, 6);
        n += table[i] == type && le32_get(table + i + flags_at) == flags;
    }
    return n;
}

static void test_madt(void)
{
    g_auto(Fixture) f = {0};
    g_autoptr(AcpiTables) t = NULL;
    const guint8 *p;

    fixture_init(&f, 300, 3, GIB(1), GIB(1));
    t = build(&f);
    p = find_table(t, "APIC");
    g_assert_cmpuint(le32_get(p + 36), ==, 0xfee00000);
    g_assert_cmpuint(count_entries(p, 44, 0, 4, 1), ==, 3);       /* enabled */
    g_assert_cmpuint(count_entries(p, 44, 0, 4, 2), ==, 255 - 3); /* online capable */
    g_assert_cmpuint(count_entries(p, 44, 9, 8, 2), ==, 300 - 255);
    g_assert_cmpuint(count_entries(p, 44, 1, 4, 0xfec00000), ==, 1);
    g_assert_cmpuint(count_entries(p, 44, 2, 4, 2), ==, 0);       /* IRQ 0 is GSI 0: no override */
    g_assert_cmpuint(count_entries(p, 44, 2, 4, 9), ==, 1);
    g_assert_cmpuint(count_entries(p, 44, 4, 2, 0x01060000 | 0), <=, 1);
}

static void test_srat(void)
{
    g_auto(Fixture) f = {0};
    g_autoptr(AcpiTables) t = NULL;
    const guint8 *p, *last;

    fixture_init(&f, 4, 1, GIB(6), GIB(64));
    t = build(&f);
    p = find_table(t, "SRAT");
    g_assert_cmpuint(count_entries(p, 48, 0, 4, 1), ==, 4);
    g_assert_cmpuint(count_entries(p, 48, 1, 28, 1), ==, 3);
    g_assert_cmpuint(count_entries(p, 48, 1, 28, 3), ==, 1);
    last = p + le32_get(p + 4) - 40;
    g_assert_cmpuint(le64_get(last + 8), ==, GIB(8)); /* 6 GiB of RAM, 2.75 below 4 GiB */
    g_assert_cmpuint(le64_get(last + 16), ==, GIB(64));
    prop_bag_set_u(f.bag, "memory-slots", 0, ORIGIN_CONFIG);
    acpi_view_place(&f.view, f.bag);
    acpi_tables_free(g_steal_pointer(&t));
    t = build(&f);
    g_assert_null(find_table(t, "SRAT"));
}

static void test_mcfg(void)
{
    g_auto(Fixture) f = {0};
    g_autoptr(AcpiTables) t = NULL;
    const guint8 *p;

    fixture_init(&f, 1, 1, GIB(1), GIB(1));
    f.view.last_bus = 63;
    prop_bag_set_u(f.bag, "ecam-base", 0xe0000000, ORIGIN_CONFIG);
    t = build(&f);
    p = find_table(t, "MCFG");
    g_assert_cmpuint(le64_get(p + 44), ==, 0xe0000000);
    g_assert_cmpuint(p[54], ==, 0);
    g_assert_cmpuint(p[55], ==, 63);
}

/* Where the regions above 4 GiB go: as recorded, else as documented, and never beyond what the CPU can address. */
static void test_place(void)
{
    g_auto(Fixture) f = {0};

    fixture_init(&f, 1, 1, GIB(6), GIB(64));
    g_assert_cmphex(f.view.device_memory, ==, GIB(8));
    g_assert_cmphex(f.view.pci64, ==, GIB(8 + 64));
    g_assert_cmphex(f.view.pci64_len, ==, GIB(32));
    prop_bag_set_u(f.bag, "device-memory-base", GIB(100), ORIGIN_HINT);
    prop_bag_set_u(f.bag, "pci-hole64-base", GIB(512), ORIGIN_HINT);
    acpi_view_place(&f.view, f.bag);
    g_assert_cmphex(f.view.device_memory, ==, GIB(100));
    g_assert_cmphex(f.view.pci64, ==, GIB(512));
    prop_bag_set_u(f.bag, "pci-hole64-base", GIB(1023), ORIGIN_HINT); /* 40 bits */
    acpi_view_place(&f.view, f.bag);
    g_assert_cmphex(f.view.pci64_len, ==, GIB(1));
    prop_bag_set_u(f.bag, "pci-hole64-base", GIB(1024), ORIGIN_HINT);
    acpi_view_place(&f.view, f.bag);
    g_assert_cmphex(f.view.pci64_len, ==, 0);
}

/* Walks the MP table: entries counted and sized as the header says. */
static void test_mptable(void)
{
    static const guint8 sizes[] = {20, 8, 8, 8, 8};
    g_auto(Fixture) f = {0};
    g_autoptr(GByteArray) t = NULL;
    guint8 pointer[16];
    guint at = 44, n = 0, cpus = 0;

    fixture_init(&f, 300, 260, GIB(1), GIB(1));
    t = mp_table_build_view(&f.view);
    g_assert_cmpmem(t->data, 4, "PCMP", 4);
    g_assert_cmpuint(le16_get(t->data + 4), ==, t->len);
    g_assert_cmpuint(sum(t->data, t->len), ==, 0);
    for (; at < t->len; n++) {
        guint8 type = t->data[at];

        g_assert_cmpuint(type, <, G_N_ELEMENTS(sizes));
        if (type == 0) {
            g_assert_cmpuint(t->data[at + 1], ==, cpus);
            g_assert_cmpuint(t->data[at + 3], ==, cpus == 0 ? 3 : 1); /* the first is the BSP */
            cpus++;
        }
        at += sizes[type];
    }
    g_assert_cmpuint(at, ==, t->len);
    g_assert_cmpuint(n, ==, le16_get(t->data + 34));
    g_assert_cmpuint(cpus, ==, 255); /* ids 0 to 254 */
    mp_floating_pointer(0xf0100, pointer);
    g_assert_cmpuint(sum(pointer, 16), ==, 0);
    g_assert_cmpuint(le32_get(pointer + 4), ==, 0xf0100);
}

/* How often BYTES occur in the DSDT. */
static guint count_in_dsdt(const AcpiTables *t, const void *bytes, gsize n)
{
    const guint8 *dsdt = find_table(t, "DSDT");
    guint found = 0;

    for (guint i = 36; i + n <= le32_get(dsdt + 4); i++)
        found += memcmp(dsdt + i, bytes, n) == 0;
    return found;
}

/* An object a slot that ACPI controls, a handler if there is any, and no more: a table is read at each power-on. */
static void test_slots(void)
{
    guint len[3];

    for (guint i = 0; i < G_N_ELEMENTS(len); i++) {
        g_auto(Fixture) f = {0};
        g_autoptr(AcpiTables) t = NULL;
        guint n = i * 30;

        fixture_init(&f, 1, 1, MIB(512), MIB(512));
        if (n)
            fixture_slots(&f, 1, 30);
        if (i == 2)
            fixture_slots(&f, 32 + 8, 32 + 8 + 29);
        t = build(&f);
        len[i] = le32_get(find_table(t, "DSDT") + 4);
        g_assert_cmpuint(count_in_dsdt(t, "_SUN", 4), ==, n);
        g_assert_cmpuint(count_in_dsdt(t, "_E01", 4), ==, n ? 1 : 0);
        g_assert_cmpuint(count_in_dsdt(t, "PNTB", 4), ==, i == 2 ? 3 : 0); /* defined, called twice */
    }
    g_assert_cmpuint(len[1] - len[0], <, 30 * 64 + 512);
    g_assert_cmpuint(len[2] - len[1], <, 30 * 104 + 64);
}

/* ---- the linker-loader script, carried out as firmware does ---- */

typedef struct {
    GByteArray *tables, *rsdp;
    guint       allocated;
} Firmware;

static GByteArray *firmware_file(Firmware *fw, const char *name)
{
    if (g_str_equal(name, "etc/acpi/tables"))
        return fw->tables;
    g_assert_cmpstr(name, ==, "etc/acpi/rsdp");
    return fw->rsdp;
}

/* CLEARS: whether the checksum byte counts into its own sum. EDK2 and SeaBIOS differ, so both must come out right. */
static void firmware_step(Firmware *fw, const guint8 *e, gboolean clears)
{
    GByteArray *file = firmware_file(fw, (const char *)e + 4);

    switch (le32_get(e)) {
    case 1:
        fw->allocated++;
        break;
    case 2: {
        guint8 *p = file->data + le32_get(e + 116);

        firmware_file(fw, (const char *)e + 60);
        g_assert_true(range_within(le32_get(e + 116), e[120], file->len));
        le_put(p, e[120], le_get(p, e[120]) + BASE);
        break;
    }
    case 3: {
        guint8 *p = file->data + le32_get(e + 60);

        g_assert_true(range_within(le32_get(e + 64), le32_get(e + 68), file->len));
        if (clears)
            *p = -sum(file->data + le32_get(e + 64), le32_get(e + 68));
        else
            *p -= sum(file->data + le32_get(e + 64), le32_get(e + 68));
        break;
    }
    default:
        g_assert_not_reached();
    }
}

static void check_loader(gboolean clears)
{
    g_auto(Fixture) f = {0};
    g_autoptr(AcpiTables) t = NULL, direct = NULL;
    g_autoptr(GByteArray) script = NULL, rsdp = g_byte_array_new();
    Firmware fw = {0};

    fixture_init(&f, 8, 2, GIB(6), GIB(64));
    t = acpi_build_view(&f.view);
    script = acpi_loader_script(t);
    g_byte_array_append(rsdp, t->rsdp, sizeof t->rsdp);
    fw.tables = t->blob;
    fw.rsdp = rsdp;
    g_assert_cmpuint(script->len % 128, ==, 0);
    for (guint i = 0; i < script->len; i += 128)
        firmware_step(&fw, script->data + i, clears);
    g_assert_cmpuint(fw.allocated, ==, 2);
    direct = build(&f);
    g_assert_cmpmem(t->blob->data, t->blob->len, direct->blob->data, direct->blob->len);
    g_assert_cmpmem(rsdp->data, rsdp->len, direct->rsdp, 36);
}

static void test_loader_script(void)
{
    check_loader(TRUE);
    check_loader(FALSE);
}

/* ---- ACPICA's tools ---- */

static char *run(const char *dir, char **argv, int *status)
{
    g_autofree char *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;

    g_spawn_sync(dir, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, status, &error);
    g_assert_no_error(error);
    return g_strconcat(out, err, NULL);
}

static void write_table(const char *dir, const guint8 *p)
{
    g_autofree char *name = g_strdup_printf("%s/%.4s.dat", dir, (const char *)p);
    g_autoptr(GError) error = NULL;

    g_file_set_contents(name, (const char *)p, le32_get(p + 4), &error);
    g_assert_no_error(error);
}

/* Disassembles and compiles back; any diagnostic is a failure, and so is another byte. */
static void check_iasl(const char *dir, const char *table)
{
    g_autofree char *dat = g_strconcat(table, ".dat", NULL), *dsl = g_strconcat(table, ".dsl", NULL);
    g_autofree char *path = g_strdup_printf("%s/%s.aml", dir, table), *orig = g_strdup_printf("%s/%s", dir, dat);
    g_autofree char *out = NULL, *log = NULL, *ours = NULL, *theirs = NULL;
    gsize n_ours, n_theirs;
    int status;

    out = run(dir, (char *[]){"iasl", "-d", dat, NULL}, &status);
    g_assert_cmpint(status, ==, 0);
    log = run(dir, (char *[]){"iasl", "-on", "-p", (char *)table, dsl, NULL}, &status);
    if (status != 0 || !strstr(log, "0 Errors, 0 Warnings, 0 Remarks"))
        g_error("%s: iasl says (status %d):\n%s%s", table, status, out, log);
    g_assert_true(g_file_get_contents(path, &theirs, &n_theirs, NULL));
    g_assert_true(g_file_get_contents(orig, &ours, &n_ours, NULL));
    g_assert_cmpuint(n_ours, ==, n_theirs);
    /* The compiler puts its own creator into headers, and does not know "online capable" of x2APIC entries. */
    if (!g_str_equal(table, "APIC"))
        g_assert_cmpmem(ours + 36, n_ours - 36, theirs + 36, n_theirs - 36);
}

/* Loads the DSDT and evaluates one object without arguments. */
static void check_acpiexec(const char *dir, const char *object)
{
    g_autofree char *command = g_strconcat("evaluate ", object, NULL), *log = NULL;
    g_autofree char *expected = g_strdup_printf("Evaluation of %s returned object", object);
    int status;

    log = run(dir, (char *[]){"acpiexec", "-da", "-b", command, "DSDT.dat", NULL}, &status);
    if (status != 0 || !strstr(log, expected) || strstr(log, "Exception") || strstr(log, "Error") || strstr(log, "Warning"))
        g_error("acpiexec says (status %d):\n%s", status, log);
}

/* SLOTS: there are slots 1 and 0x20 + 0xf5. */
static void check_tools(const AcpiTables *t, gboolean slots)
{
    g_autofree char *dir = g_dir_make_tmp("backplane-acpi-XXXXXX", NULL);
    static const char *const names[] = {"DSDT", "FACP", "APIC", "MCFG", "WAET", "SRAT"};
    static const char *const objects[] = {"\\_S5", "\\_SB.PCI0._CRS", "\\_SB.LNKA._CRS", "\\_SB.GSIH._CRS", "\\_SB.MBRD._CRS",
                                          "\\_SB.CPUS.C000._MAT", "\\_SB.CPUS.C000._STA"};
    static const char *const slot_objects[] = {"\\_SB.PCI0.S08._ADR", "\\_SB.PCI0.S08._SUN", "\\_SB.PCI0.SF5.S00._ADR"};
    static const char *const memory_objects[] = {"\\_SB.MHPC.M01F._STA", "\\_SB.MHPC.M000._CRS", "\\_SB.MHPC.M000._PXM"};
    int status;

    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        const guint8 *p = find_table(t, names[i]);

        if (!p)
            continue;
        write_table(dir, p);
        check_iasl(dir, names[i]);
    }
    for (guint i = 0; i < G_N_ELEMENTS(objects); i++)
        check_acpiexec(dir, objects[i]);
    for (guint i = 0; find_table(t, "SRAT") && i < G_N_ELEMENTS(memory_objects); i++)
        check_acpiexec(dir, memory_objects[i]);
    for (guint i = 0; slots && i < G_N_ELEMENTS(slot_objects); i++)
        check_acpiexec(dir, slot_objects[i]);
    g_free(run(NULL, (char *[]){"rm", "-rf", dir, NULL}, &status));
}

static gboolean have_tool(const char *name)
{
    g_autofree char *path = g_find_program_in_path(name);

    return path != NULL;
}

static void test_acpica(void)
{
    static const struct { guint max_cpus, plugged, n_serial; guint64 ram, max_ram; } machines[] = {
        {1, 1, 0, MIB(512), MIB(512)}, {8, 2, 1, GIB(6), GIB(64)}, {300, 5, 4, GIB(64), GIB(1024)},
    };
    static const AcpiSerial ports[] = {{0, 0x3f8, 4}, {1, 0x2f8, 3}, {2, 0x3e8, 4}, {3, 0x2e8, 3}};

    if (!have_tool("iasl") || !have_tool("acpiexec")) {
        g_test_skip("iasl and acpiexec (package acpica-tools) are not installed");
        return;
    }
    for (guint i = 0; i < G_N_ELEMENTS(machines); i++) {
        g_auto(Fixture) f = {0};
        g_autoptr(AcpiTables) t = NULL;

        fixture_init(&f, machines[i].max_cpus, machines[i].plugged, machines[i].ram, machines[i].max_ram);
        f.view.n_serial = machines[i].n_serial;
        memcpy(f.view.serial, ports, sizeof ports);
        f.view.last_bus = i > 0 ? 255 : 0; /* with root ports and without */
        if (i > 0) {
            fixture_slots(&f, 1, 20);
            fixture_slots(&f, 32 + 0xa8, i == 1 ? 32 + 0xa8 : 32 + 0xf5); /* one more, or some groups */
        }
        t = build(&f);
        check_tools(t, i == 2);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi/structure", test_structure);
    g_test_add_func("/acpi/deterministic", test_deterministic);
    g_test_add_func("/acpi/fadt", test_fadt);
    g_test_add_func("/acpi/madt", test_madt);
    g_test_add_func("/acpi/srat", test_srat);
    g_test_add_func("/acpi/mcfg", test_mcfg);
    g_test_add_func("/acpi/place", test_place);
    g_test_add_func("/acpi/slots", test_slots);
    g_test_add_func("/acpi/mptable", test_mptable);
    g_test_add_func("/acpi/loader-script", test_loader_script);
    g_test_add_func("/acpi/acpica-tools", test_acpica);
    return g_test_run();
}
