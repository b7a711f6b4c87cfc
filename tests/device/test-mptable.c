/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The MP configuration table, read as a kernel does: pointer, header, entries; it says of CPUs and lines what the MADT says. */
#include "acpi-fixture.h"

#include "common/util.h"

static guint8 sum(const guint8 *p, gsize len)
{
    guint8 s = 0;

    while (len--)
        s += *p++;
    return s;
}

/* Counts the entries of TYPE and keeps the last; the walk must end exactly at the table's end. */
static guint count(const GByteArray *t, guint8 type, const guint8 **last)
{
    const guint8 *p = t->data + 44, *end = t->data + t->len;
    guint n = 0, all = 0;

    for (; p < end; p += p[0] == 0 ? 20 : 8, all++) {
        if (p[0] == type) {
            n++;
            *last = p;
        }
    }
    g_assert_true(p == end);
    g_assert_cmpuint(all, ==, le16_get(t->data + 34));
    return n;
}

static void test_pointer(void)
{
    guint8 p[16];

    mp_floating_pointer(0xf0100, p);
    g_assert_cmpmem(p, 4, "_MP_", 4);
    g_assert_cmphex(le32_get(p + 4), ==, 0xf0100);
    g_assert_cmpuint(sum(p, 16), ==, 0);
    g_assert_cmpuint(p[11], ==, 0); /* a table follows, no default configuration */
}

static void test_header(void)
{
    g_auto(Fixture) f = {0};

    fixture_init(&f, 4, 2, GIB(1), GIB(1));
    g_autoptr(GByteArray) t = mp_table_build_view(&f.view);
    g_assert_cmpmem(t->data, 4, "PCMP", 4);
    g_assert_cmpuint(le16_get(t->data + 4), ==, t->len);
    g_assert_cmpuint(sum(t->data, t->len), ==, 0);
    g_assert_cmphex(le32_get(t->data + 36), ==, 0xfee00000);
}

static void test_cpus(void)
{
    g_auto(Fixture) f = {0};
    const guint8 *last = NULL;

    fixture_init(&f, 300, 260, GIB(1), GIB(1)); /* 260 plugged: 255 of them have an id that fits */
    for (guint i = 0; i < 260; i++) {
        g_array_index(f.view.cpus, AcpiCpu, i).signature = 0x60fb1;
        g_array_index(f.view.cpus, AcpiCpu, i).features = 0x78bfbff;
    }
    g_autoptr(GByteArray) t = mp_table_build_view(&f.view);
    g_assert_cmpuint(count(t, 0, &last), ==, 255);
    g_assert_cmpuint(last[1], ==, 254);
    g_assert_cmphex(le32_get(last + 4), ==, 0x60fb1);
    g_assert_cmphex(le32_get(last + 8), ==, 0x78bfbff);
    g_assert_cmphex(t->data[44 + 3], ==, 3); /* the first boots */
    g_assert_cmphex(last[3], ==, 1);
}

static void test_interrupts(void)
{
    g_auto(Fixture) f = {0};
    const guint8 *last = NULL;

    fixture_init(&f, 1, 1, GIB(1), GIB(1));
    g_autoptr(GByteArray) t = mp_table_build_view(&f.view);
    g_assert_cmpuint(count(t, 1, &last), ==, 2); /* buses */
    g_assert_cmpuint(count(t, 2, &last), ==, 1);
    g_assert_cmphex(le32_get(last + 4), ==, 0xfec00000);
    g_assert_cmpuint(count(t, 3, &last), ==, 15); /* all but the cascade */
    g_assert_cmpuint(last[5], ==, last[7]);       /* IRQ n is pin n */
    g_assert_cmpuint(count(t, 4, &last), ==, 2);  /* ExtINT and NMI */
    g_assert_cmpuint(last[1], ==, 1);
    g_assert_cmpuint(last[7], ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mptable/pointer", test_pointer);
    g_test_add_func("/mptable/header", test_header);
    g_test_add_func("/mptable/cpus", test_cpus);
    g_test_add_func("/mptable/interrupts", test_interrupts);
    return g_test_run();
}
