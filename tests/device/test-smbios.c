/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The SMBIOS structures: walked as a guest does, each field that a manager can set, sizes beyond the old fields; dmidecode. */
#include "acpi-fixture.h"

#include <glib/gstdio.h>

#include "common/util.h"

/* The next structure after P: past the area and the double NUL that ends the strings. */
static const guint8 *next(const guint8 *p)
{
    p += p[1];
    while (p[0] || p[1])
        p++;
    return p + 2;
}

/* The Nth structure of TYPE. NULL: none. Asserts that the walk ends exactly at the end of the table. */
static const guint8 *find(const GByteArray *t, guint8 type, guint n)
{
    const guint8 *found = NULL, *p = t->data;

    for (;; p = next(p)) {
        if (p[0] == type && n-- == 0)
            found = p;
        if (p[0] == 127)
            break;
    }
    g_assert_true(next(p) == t->data + t->len);
    return found;
}

/* String number P[OFFSET]; "" for number 0. */
static const char *string_of(const guint8 *p, guint offset)
{
    const char *s = (const char *)p + p[1];

    if (p[offset] == 0)
        return "";
    for (guint i = 1; i < p[offset]; i++)
        s += strlen(s) + 1;
    return s;
}

static void test_strings(void)
{
    static const struct { const char *row; guint8 type, offset; } rows[] = {
        {"smbios-bios-vendor", 0, 4}, {"smbios-bios-version", 0, 5}, {"smbios-bios-date", 0, 8},
        {"smbios-manufacturer", 1, 4}, {"smbios-product", 1, 5}, {"smbios-version", 1, 6}, {"smbios-serial", 1, 7},
        {"smbios-sku", 1, 0x19}, {"smbios-family", 1, 0x1a}, {"smbios-chassis-manufacturer", 3, 4},
        {"smbios-chassis-version", 3, 6}, {"smbios-chassis-serial", 3, 7}, {"smbios-chassis-asset", 3, 8},
        {"smbios-chassis-sku", 3, 0x15}, {"smbios-cpu-manufacturer", 4, 7}, {"smbios-cpu-version", 4, 0x10},
        {"smbios-memory-manufacturer", 17, 0x17},
    };

    for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(Fixture) f = {0};
        g_autoptr(GByteArray) t = NULL, empty = NULL;

        fixture_init(&f, 2, 1, GIB(1), GIB(1));
        prop_bag_set_s(f.bag, rows[i].row, "a string of its own", ORIGIN_CONFIG);
        t = smbios_build_view(&f.view);
        g_assert_cmpstr(string_of(find(t, rows[i].type, 0), rows[i].offset), ==, "a string of its own");
        prop_bag_set_s(f.bag, rows[i].row, "", ORIGIN_CONFIG);
        empty = smbios_build_view(&f.view);
        g_assert_cmpuint(find(empty, rows[i].type, 0)[rows[i].offset], ==, 0);
    }
}

static void test_uuid(void)
{
    static const guint8 expected[16] = {0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66,
                                        0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
    g_auto(Fixture) f = {0};
    g_autoptr(GByteArray) t = NULL;

    fixture_init(&f, 2, 1, GIB(1), GIB(1));
    prop_bag_set_s(f.bag, "uuid", "00112233-4455-6677-8899-AABBCCDDEEFF", ORIGIN_CONFIG);
    t = smbios_build_view(&f.view);
    g_assert_cmpmem(find(t, 1, 0) + 8, 16, expected, 16);
}

static void test_processors(void)
{
    Fixture f = {0};
    g_autoptr(GByteArray) t = NULL, later = NULL;
    const guint8 *p;

    fixture_board(&f, 16, 2);
    prop_bag_set_u(f.bag, "cpu-cores", 4, ORIGIN_CONFIG);
    prop_bag_set_u(f.bag, "cpu-threads", 2, ORIGIN_CONFIG);
    fixture_cpus(&f, 3);
    fixture_memory(&f, GIB(1), GIB(1));
    prop_bag_set_u(f.bag, "smbios-cpu-max-speed", 3000, ORIGIN_CONFIG);
    g_array_index(f.view.cpus, AcpiCpu, 0).signature = 0x00a00f11;
    g_array_index(f.view.cpus, AcpiCpu, 0).features = 0x178bfbff;
    t = smbios_build_view(&f.view);
    p = find(t, 4, 0);
    g_assert_cmphex(le32_get(p + 0x08), ==, 0x00a00f11); /* who it is: CPUID leaf 1, EAX and EDX */
    g_assert_cmphex(le32_get(p + 0x0c), ==, 0x178bfbff);
    g_assert_cmpuint(le16_get(p + 0x14), ==, 3000);
    g_assert_cmpuint(le16_get(p + 0x16), ==, 2000);
    g_assert_cmpuint(p[0x18], ==, 0x41);
    g_assert_cmpuint(p[0x23], ==, 4);
    g_assert_cmpuint(p[0x24], ==, 2); /* three threads are on two cores */
    g_assert_cmpuint(p[0x25], ==, 8);
    g_assert_cmpuint(find(t, 4, 1)[0x18], ==, 0); /* an empty socket */
    g_assert_cmphex(le64_get(find(t, 4, 1) + 0x08), ==, 0);
    g_assert_null(find(t, 4, 2));
    g_array_index(f.view.cpus, AcpiCpu, 0).plugged = FALSE; /* the next one of the socket speaks for it */
    later = smbios_build_view(&f.view);
    g_assert_cmphex(le64_get(find(later, 4, 0) + 0x08), ==, 0);
    g_assert_cmpuint(find(later, 4, 0)[0x18], ==, 0x41);
    fixture_clear(&f);
}

static void test_many_cores(void)
{
    g_auto(Fixture) f = {0};
    g_autoptr(GByteArray) t = NULL;
    const guint8 *p;

    fixture_init(&f, 1024, 1024, GIB(1), GIB(1));
    t = smbios_build_view(&f.view);
    p = find(t, 4, 0);
    g_assert_cmpuint(p[0x23], ==, 255);
    g_assert_cmpuint(le16_get(p + 0x2a), ==, 1024);
    g_assert_cmpuint(le16_get(p + 0x2c), ==, 1024);
}

static void test_memory(void)
{
    static const struct { guint64 size; guint16 field; guint32 extended; } sizes[] = {
        {MIB(512), 512, 0},
        {MIB(1) + 0x1000, 0x8000 | 1028, 0},
        {GIB(31), 31 << 10, 0},
        {GIB(32), 0x7fff, 32 << 10},
        {GIB(1024), 0x7fff, 1024 << 10},
    };

    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_auto(Fixture) f = {0};
        g_autoptr(GByteArray) t = NULL;
        const guint8 *p;

        fixture_init(&f, 1, 1, sizes[i].size, sizes[i].size);
        t = smbios_build_view(&f.view);
        p = find(t, 17, 0);
        g_assert_cmpuint(le16_get(p + 0x0c), ==, sizes[i].field);
        g_assert_cmpuint(le32_get(p + 0x1c), ==, sizes[i].extended);
        g_assert_cmpstr(string_of(p, 0x10), ==, "DIMM 0");
        g_assert_cmpuint(le16_get(find(t, 16, 0) + 0x0d), ==, 32);
    }
}

static void test_mapped(void)
{
    g_auto(Fixture) f = {0};
    g_autoptr(GByteArray) t = NULL;
    const guint8 *p;

    fixture_init(&f, 1, 1, GIB(5 * 1024), GIB(5 * 1024));
    t = smbios_build_view(&f.view);
    p = find(t, 19, 0);
    g_assert_cmpuint(le32_get(p + 4), ==, 0);
    g_assert_cmpuint(le32_get(p + 8), ==, (MIB(2816) >> 10) - 1);
    p = find(t, 19, 1);
    g_assert_cmpuint(le32_get(p + 4), ==, 0xffffffff); /* above 4 TiB in bytes */
    g_assert_cmpuint(le64_get(p + 0x0f), ==, GIB(4));
    g_assert_cmpuint(le64_get(p + 0x17), ==, GIB(5 * 1024) - MIB(2816) + GIB(4) - 1);
}

/* Every slot of the board is there, in order, and the table is as long whatever is in them. */
static void test_slots(void)
{
    const AcpiDimm dimm = {.size = MIB(256), .slot = 7};
    g_auto(Fixture) f = {0};
    g_autoptr(GByteArray) t = NULL, more = NULL;
    const guint8 *p;

    fixture_init(&f, 1, 1, GIB(1), GIB(4));
    prop_bag_set_u(f.bag, "memory-slots", 9, ORIGIN_CONFIG);
    t = smbios_build_view(&f.view);
    g_array_append_val(f.view.dimms, dimm);
    more = smbios_build_view(&f.view);
    g_assert_cmpuint(more->len, ==, t->len);
    g_assert_cmpuint(le16_get(find(more, 16, 0) + 0x0d), ==, 9);
    for (guint i = 0; i < 9; i++) {
        g_autofree char *name = g_strdup_printf("DIMM %u", i);

        p = find(more, 17, i);
        g_assert_cmpstr(string_of(p, 0x10), ==, name);
        g_assert_cmpuint(le16_get(p + 0x0c), ==, i == 0 ? 1024 : i == 7 ? 256 : 0);
    }
    g_assert_null(find(more, 17, 9));
    g_assert_null(find(more, 19, 1)); /* where base RAM is, and no more */
}

static void test_anchor(void)
{
    guint8 a[24], sum = 0;

    smbios_anchor(0xf1234, 777, a);
    for (guint i = 0; i < 24; i++)
        sum += a[i];
    g_assert_cmpuint(sum, ==, 0);
    g_assert_cmpmem(a, 5, "_SM3_", 5);
    g_assert_cmpuint(a[6], ==, 24);
    g_assert_cmpuint(le32_get(a + 12), ==, 777);
    g_assert_cmpuint(le64_get(a + 16), ==, 0xf1234);
}

/* A dump file as dmidecode --from-dump reads it: the anchor, and the table at 32. */
static void test_dmidecode(void)
{
    g_auto(Fixture) f = {0};
    g_autoptr(GByteArray) t = NULL, dump = g_byte_array_new();
    g_autofree char *tool = g_find_program_in_path("dmidecode"), *path = NULL, *out = NULL, *err = NULL;
    g_autoptr(GError) error = NULL;
    guint8 anchor[32] = {0};
    int fd, status;

    if (!tool) {
        g_test_skip("dmidecode is not installed");
        return;
    }
    fixture_init(&f, 8, 2, GIB(6), GIB(64));
    t = smbios_build_view(&f.view);
    smbios_anchor(32, t->len, anchor);
    g_byte_array_append(dump, anchor, 32);
    g_byte_array_append(dump, t->data, t->len);
    fd = g_file_open_tmp("backplane-smbios-XXXXXX", &path, &error);
    g_assert_no_error(error);
    close(fd);
    g_assert_true(g_file_set_contents(path, (const char *)dump->data, dump->len, NULL));
    g_spawn_sync(NULL, (char *[]){tool, "--from-dump", path, NULL}, NULL, 0, NULL, NULL, &out, &err, &status, &error);
    g_unlink(path);
    g_assert_no_error(error);
    if (status != 0 || *err || strstr(out, "BAD") || strstr(out, "broken") || !strstr(out, "Backplane Virtual Machine") ||
        !strstr(out, "Size: 6 GB"))
        g_error("dmidecode says (status %d): %s%s", status, out, err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/smbios/strings", test_strings);
    g_test_add_func("/smbios/uuid", test_uuid);
    g_test_add_func("/smbios/processors", test_processors);
    g_test_add_func("/smbios/many-cores", test_many_cores);
    g_test_add_func("/smbios/memory", test_memory);
    g_test_add_func("/smbios/mapped", test_mapped);
    g_test_add_func("/smbios/slots", test_slots);
    g_test_add_func("/smbios/anchor", test_anchor);
    g_test_add_func("/smbios/dmidecode", test_dmidecode);
    return g_test_run();
}
