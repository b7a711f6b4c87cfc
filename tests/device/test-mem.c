/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-mem.c - host memory objects, DIMMs, and the layout of base RAM. Memory is sparse, so a test may have 64 GiB.
 */
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../../devices/mem/memory-backend.h"
#include "../../devices/platform/board.h"
#include "core-rig.h"

#define MIB (G_GUINT64_CONSTANT(1) << 20)
#define GIB (G_GUINT64_CONSTANT(1) << 30)
#define FOUR_GIB (4 * GIB)
#define SIZE_FORMAT G_GUINT64_FORMAT

static Rig *rig_with_board(const char *extra)
{
    Rig *rig = rig_new();

    rig_plug(rig, "{\"driver\":\"board\"%s}", extra);
    return rig;
}

static Device *plug_ram(Rig *rig, const char *id, guint64 size)
{
    return rig_plug(rig, "{\"qom-type\":\"memory-backend-ram\",\"id\":\"%s\",\"size\":%" SIZE_FORMAT "}", id, size);
}

static Device *plug_dimm(Rig *rig, const char *id, guint64 size, const char *extra)
{
    plug_ram(rig, id, size);
    return rig_plug(rig, "{\"driver\":\"pc-dimm\",\"id\":\"d-%s\",\"memdev\":\"%s\"%s}", id, id, extra);
}

static void layout(Rig *rig)
{
    g_autoptr(GError) error = NULL;

    mem_layout_base_ram(rig->set, &error);
    g_assert_no_error(error);
}

static void layout_refused(Rig *rig, const char *fragment)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(mem_layout_base_ram(rig->set, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
}

/* ---- objects ---- */

static void test_kinds(void)
{
    static const char *const kinds[] = { "memory-backend-ram", "memory-backend-memfd" };

    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        for (guint share = 0; share < 2; share++) {
            g_autoptr(Rig) rig = rig_new();
            guint fds = rig_count_fds();
            Device *mem = rig_plug(rig, "{\"qom-type\":\"%s\",\"id\":\"m\",\"size\":12288,\"share\":%s}", kinds[i],
                                   share ? "true" : "false");
            g_assert_cmpuint(memory_backend_size(mem), ==, 12288);
            memory_backend_hva(mem)[12287] = 5;
            g_assert_cmpuint(memory_backend_hva(mem)[0], ==, 0);
            g_assert_true(memory_backend_ready(mem, NULL));
            g_assert_cmpuint(rig_count_fds(), ==, fds);
            rig_remove(mem);
        }
    }
}

static void test_sizes(void)
{
    g_autoptr(Rig) rig = rig_new();

    rig_refuse(rig, "4097 is not a multiple of 4096", "{\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":4097}");
    rig_refuse(rig, "does not accept 0", "{\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":0}");
    rig_refuse(rig, "does not accept 4095", "{\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\",\"size\":4095}");
    rig_refuse(rig, "'size' is missing", "{\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\"}");
    Device *mem = plug_ram(rig, "m", 64 * GIB); /* more than the host has */
    memory_backend_hva(mem)[64 * GIB - 1] = 1;
}

static void test_file(void)
{
    g_autoptr(Rig) rig = rig_new();
    char *tmp = rig_tmp_new();
    g_autofree char *path = g_build_filename(tmp, "ram", NULL);
    struct stat st;

    for (guint share = 0; share < 2; share++) {
        Device *mem = rig_plug(rig, "{\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":%u,\"mem-path\":\"%s\",\"share\":%s}",
                               share ? 4096 : 8192, path, share ? "true" : "false");
        memory_backend_hva(mem)[7] = 7;
        rig_remove(mem);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpint(st.st_size, ==, 8192); /* extended, and not shortened by the smaller one */
        g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
        g_autofree char *content = NULL;
        g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
        g_assert_cmpint(content[7], ==, share ? 7 : 0); /* private: not the file's */
    }
    rig_tmp_remove(tmp);
}

static void test_file_refused(void)
{
    g_autoptr(Rig) rig = rig_new();
    char *tmp = rig_tmp_new();
    g_autofree char *fifo = g_build_filename(tmp, "fifo", NULL), *huge = g_strnfill(1000, 'p');
    const char *kind = "\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":4096";

    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    rig_refuse(rig, "not a regular file", "{%s,\"mem-path\":\"%s\"}", kind, fifo);
    rig_refuse(rig, "not a regular file", "{%s,\"mem-path\":\"/dev/null\"}", kind);
    rig_refuse(rig, "Is a directory", "{%s,\"mem-path\":\"%s\"}", kind, tmp);
    rig_refuse(rig, "No such file", "{%s,\"mem-path\":\"%s/none/x\"}", kind, tmp);
    rig_refuse(rig, "'mem-path'", "{%s,\"mem-path\":\"%s\"}", kind, huge);
    rig_refuse(rig, "'mem-path' is missing", "{%s}", kind);
    rig_tmp_remove(tmp);
}

/* Every mapping begins where a huge page can. */
static void test_alignment(void)
{
    static const char *const kinds[] = { "memory-backend-ram", "memory-backend-memfd" };

    for (guint i = 0; i < G_N_ELEMENTS(kinds); i++) {
        for (guint64 size = 4096; size <= (4 << 20) + 4096; size += (1 << 20) + 4096) {
            g_autoptr(Rig) rig = rig_new();
            Device *mem = rig_plug(rig, "{\"qom-type\":\"%s\",\"id\":\"m\",\"size\":%u}", kinds[i], (guint)size);
            guint8 *hva = memory_backend_hva(mem);
            guint8 vec;

            g_assert_cmpuint((guintptr)hva % (2 << 20), ==, 0);
            hva[size - 1] = 1;
            rig_remove(mem);
            g_assert_cmpint(mincore(hva, 1, &vec), ==, -1);
        }
    }
}

/* ---- preallocation ---- */

static gboolean all_there(Device *mem)
{
    guint8 vec[256];

    g_assert_cmpuint(memory_backend_size(mem), ==, sizeof vec * 4096);
    g_assert_cmpint(mincore(memory_backend_hva(mem), sizeof vec * 4096, vec), ==, 0);
    for (guint i = 0; i < sizeof vec; i++) {
        if (!(vec[i] & 1))
            return FALSE;
    }
    return TRUE;
}

static void test_prealloc(void)
{
    g_autoptr(Rig) rig = rig_new();
    guint threads = rig_count_threads();
    Device *sparse = plug_ram(rig, "s", MIB);
    Device *mem = rig_plug(rig, "{\"qom-type\":\"memory-backend-ram\",\"id\":\"m\",\"size\":1048576,\"prealloc\":true}");

    g_assert_true(memory_backend_ready(mem, NULL));
    g_assert_true(all_there(mem));
    g_assert_false(all_there(sparse));
    g_assert_true(memory_backend_ready(mem, NULL)); /* again: nothing to wait for */
    g_assert_cmpuint(rig_count_threads(), ==, threads);
    rig_refuse(rig, "the host has", "{\"qom-type\":\"memory-backend-ram\",\"id\":\"x\",\"size\":70368744177664,\"prealloc\":true}");
    /* Removed while its pages are being had. */
    rig_remove(rig_plug(rig, "{\"qom-type\":\"memory-backend-ram\",\"id\":\"y\",\"size\":536870912,\"prealloc\":true}"));
    g_assert_cmpuint(rig_count_threads(), ==, threads);
}

/* What could not be had once is refused every time: a second cont must not run the guest without it. */
static void test_prealloc_fails(void)
{
    g_autoptr(Rig) rig = rig_with_board("");
    char *tmp = rig_tmp_new();
    g_autofree char *path = g_build_filename(tmp, "ram", NULL);
    const guint64 size = 256 * MIB;

    rig_plug(rig, "{\"qom-type\":\"memory-backend-file\",\"id\":\"m\",\"size\":%" SIZE_FORMAT ",\"mem-path\":\"%s\",\"share\":true,\"prealloc\":true}",
             size, path);
    g_assert_cmpint(truncate(path, 0), ==, 0); /* under its feet: pages beyond the end of a file can not be had */
    Device *mem = device_set_find(rig->set, NS_OBJECT, "m");
    rig_plug(rig, "{\"driver\":\"pc-dimm\",\"memdev\":\"m\"}");
    for (guint i = 0; i < 2 && !memory_backend_ready(mem, NULL); i++)
        layout_refused(rig, "can not preallocate");
    rig_tmp_remove(tmp);
}

/* ---- DIMMs ---- */

static void test_slots(void)
{
    g_autoptr(Rig) rig = rig_with_board(",\"memory-slots\":3");
    g_autoptr(GError) error = NULL;
    Device *dimm = plug_dimm(rig, "a", MIB, ",\"slot\":1");

    g_assert_cmpuint(dimm_slot(plug_dimm(rig, "b", MIB, "")), ==, 0);
    plug_ram(rig, "x", MIB);
    rig_refuse(rig, "slot 1 has device 'd-a'", "{\"driver\":\"pc-dimm\",\"memdev\":\"x\",\"slot\":1}");
    rig_refuse(rig, "below memory-slots 3", "{\"driver\":\"pc-dimm\",\"memdev\":\"x\",\"slot\":3}");
    rig_refuse(rig, "in use by device 'd-a'", "{\"driver\":\"pc-dimm\",\"memdev\":\"a\"}");
    rig_refuse(rig, "no memory-backend 'none'", "{\"driver\":\"pc-dimm\",\"memdev\":\"none\"}");
    rig_refuse(rig, "'memdev' is missing", "{\"driver\":\"pc-dimm\"}");
    rig_plug(rig, "{\"qom-type\":\"iothread\",\"id\":\"io\"}");
    rig_refuse(rig, "is a iothread, not a memory-backend", "{\"driver\":\"pc-dimm\",\"memdev\":\"io\"}");
    g_assert_false(device_remove(device_set_find(rig->set, NS_OBJECT, "a"), &error));
    g_assert_nonnull(strstr(error->message, "in use by device 'd-a'"));
    plug_dimm(rig, "c", MIB, "");
    rig_refuse(rig, "all 3 memory slots", "{\"driver\":\"pc-dimm\",\"memdev\":\"x\"}");
    rig_remove(dimm);
    g_assert_cmpuint(dimm_slot(rig_plug(rig, "{\"driver\":\"pc-dimm\",\"memdev\":\"x\"}")), ==, 1);
    rig_remove(device_set_find(rig->set, NS_OBJECT, "a"));
}

static void test_no_slots(void)
{
    g_autoptr(Rig) rig = rig_with_board(",\"memory-slots\":0");

    plug_ram(rig, "x", MIB);
    rig_refuse(rig, "all 0 memory slots", "{\"driver\":\"pc-dimm\",\"memdev\":\"x\"}");
    rig_refuse(rig, "below memory-slots 0", "{\"driver\":\"pc-dimm\",\"memdev\":\"x\",\"slot\":0}");
}

static void test_limits(void)
{
    g_autoptr(Rig) small = rig_with_board(",\"max-memory\":2097152");
    g_autoptr(Rig) narrow = rig_with_board(",\"phys-bits\":36,\"max-memory\":68719476736,\"pci-hole64-size\":0");

    plug_dimm(small, "a", MIB, "");
    plug_ram(small, "b", MIB + 4096);
    rig_refuse(small, "max-memory is 2097152", "{\"driver\":\"pc-dimm\",\"memdev\":\"b\"}");
    plug_dimm(small, "c", MIB, ""); /* exactly */
    plug_ram(narrow, "a", 63 * GIB);
    rig_refuse(narrow, "36 bits", "{\"driver\":\"pc-dimm\",\"memdev\":\"a\"}");
}

/* ---- layout ---- */

/* The guest's memory is at GPA where OFFSET within DIMM's is. */
static void assert_at(Rig *rig, Device *dimm, guint64 gpa, guint64 offset)
{
    g_assert_true(vm_memory_ptr(rig->vm, gpa, 1) == memory_backend_hva(dimm_backend(dimm)) + offset);
}

static void test_layout_sizes(void)
{
    static const struct {
        guint64 total, low;
    } cases[] = {
        { GIB / 2, GIB / 2 },       { 11 * GIB / 4, 11 * GIB / 4 }, { 11 * GIB / 4 + MIB, 2 * GIB },
        { 3 * GIB, 2 * GIB },       { 6 * GIB, 2 * GIB },           { 64 * GIB, 2 * GIB },
    };

    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(Rig) rig = rig_with_board("");
        guint64 total = cases[i].total, low = cases[i].low;
        Device *dimm = plug_dimm(rig, "a", total, "");
        g_assert_cmpuint(dimm_address(dimm), ==, G_MAXUINT64); /* not yet */
        layout(rig);
        g_assert_cmpuint(dimm_address(dimm), ==, 0);
        g_assert_cmpuint(mem_below_4g(rig->set), ==, low);
        g_assert_cmpuint(mem_above_4g(rig->set), ==, total - low);
        assert_at(rig, dimm, 0, 0);
        assert_at(rig, dimm, low - 1, low - 1);
        g_assert_null(vm_memory_ptr(rig->vm, low, 1));
        if (total > low) {
            assert_at(rig, dimm, FOUR_GIB, low);
            assert_at(rig, dimm, FOUR_GIB + total - low - 1, total - 1);
        }
        g_assert_null(vm_memory_ptr(rig->vm, FOUR_GIB + total - low, 1));
        g_assert_cmpint(prop_bag_origin(dimm->bag, "addr"), ==, ORIGIN_DEFAULT);
        /* Tables are made from these at power-on, so they are there by now. */
        PropBag *board = device_set_board(rig->set)->bag;
        g_assert_true(prop_bag_is_set(board, "lowmem"));
        g_assert_true(prop_bag_is_set(board, "device-memory-base"));
        g_assert_true(prop_bag_is_set(board, "pci-hole64-base"));
        g_assert_cmpuint(board_config(rig->set)->device_memory_base, >=, FOUR_GIB + total - low);
    }
}

static void test_layout_of_several(void)
{
    g_autoptr(Rig) rig = rig_with_board(",\"lowmem\":2147483648");
    Device *third = plug_dimm(rig, "c", GIB, ",\"slot\":2");
    Device *first = plug_dimm(rig, "a", GIB + MIB, ",\"slot\":0");
    Device *second = plug_dimm(rig, "b", 2 * GIB, ",\"slot\":1"); /* across lowmem */

    layout(rig);
    g_assert_cmpuint(dimm_address(first), ==, 0);
    g_assert_cmpuint(dimm_address(second), ==, GIB + MIB);
    g_assert_cmpuint(dimm_address(third), ==, FOUR_GIB + GIB + MIB);
    assert_at(rig, second, 2 * GIB - 1, GIB - MIB - 1);
    g_assert_null(vm_memory_ptr(rig->vm, 2 * GIB, 1));
    assert_at(rig, second, FOUR_GIB, GIB - MIB);
    assert_at(rig, third, FOUR_GIB + GIB + MIB, 0);
    g_assert_cmpuint(mem_total(rig->set), ==, 4 * GIB + MIB);
}

static void test_layout_again(void)
{
    g_autoptr(Rig) rig = rig_with_board("");
    Device *a = plug_dimm(rig, "a", GIB, ",\"slot\":1");

    layout(rig);
    g_assert_cmpuint(board_config(rig->set)->lowmem, ==, 11 * GIB / 4);
    Device *b = plug_dimm(rig, "b", 2 * GIB, ",\"slot\":0"); /* that cont failed for another reason */
    layout(rig);
    g_assert_cmpuint(board_config(rig->set)->lowmem, ==, 2 * GIB);
    g_assert_cmpuint(dimm_address(b), ==, 0);
    g_assert_cmpuint(dimm_address(a), ==, FOUR_GIB);
    assert_at(rig, a, FOUR_GIB, 0);
    layout(rig);
    g_assert_cmpuint(dimm_address(a), ==, FOUR_GIB);
    rig_remove(b);
    g_assert_null(vm_memory_ptr(rig->vm, 0, 1)); /* nothing of it stays mapped */
    layout(rig);
    g_assert_cmpuint(dimm_address(a), ==, 0);
    g_assert_null(vm_memory_ptr(rig->vm, FOUR_GIB, 1));
}

static void test_layout_refused(void)
{
    g_autoptr(Rig) rig = rig_with_board("");
    Device *wrong = plug_dimm(rig, "a", GIB, ",\"addr\":4096");

    layout_refused(rig, "'addr' of device 'd-a': 0x1000");
    rig_remove(wrong);
    Device *right = rig_plug(rig, "{\"driver\":\"pc-dimm\",\"memdev\":\"a\",\"addr\":0}");
    layout(rig);
    g_assert_cmpint(prop_bag_origin(right->bag, "addr"), ==, ORIGIN_CONFIG);
    g_autoptr(Rig) tight = rig_with_board(",\"lowmem\":1048576,\"device-memory-base\":4294967296");
    plug_dimm(tight, "a", 2 * MIB, "");
    layout_refused(tight, "device-memory-base");
    g_assert_false(prop_bag_is_set(device_set_board(tight->set)->bag, "pci-hole64-base"));
}

/* ---- e820 ---- */

static void assert_e820(Rig *rig, const E820Entry *wanted, guint n)
{
    g_autoptr(GArray) map = mem_e820(rig->set);

    g_assert_cmpuint(map->len, ==, n);
    for (guint i = 0; i < n; i++) {
        const E820Entry *e = &g_array_index(map, E820Entry, i);
        g_assert_cmphex(e->addr, ==, wanted[i].addr);
        g_assert_cmphex(e->len, ==, wanted[i].len);
        g_assert_cmpuint(e->type, ==, wanted[i].type);
    }
}

static void test_e820(void)
{
    const E820Entry large[] = {
        { 0, 0x9fc00, E820_RAM },          { 0x9fc00, 0x400, E820_RESERVED },
        { 0xf0000, 0x10000, E820_RESERVED }, { MIB, 2 * GIB - MIB, E820_RAM },
        { 0xb0000000, 256 * MIB, E820_RESERVED }, { FOUR_GIB, GIB, E820_RAM },
    };
    g_autoptr(Rig) rig = rig_with_board(""), tiny = rig_with_board("");

    plug_dimm(rig, "a", 3 * GIB, "");
    layout(rig);
    assert_e820(rig, large, G_N_ELEMENTS(large));
    plug_dimm(tiny, "a", MIB / 2, "");
    layout(tiny);
    const E820Entry small[] = { { 0, MIB / 2, E820_RAM }, large[1], large[2], large[4] };
    assert_e820(tiny, small, G_N_ELEMENTS(small));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/mem/kinds", test_kinds);
    g_test_add_func("/mem/alignment", test_alignment);
    g_test_add_func("/mem/sizes", test_sizes);
    g_test_add_func("/mem/file", test_file);
    g_test_add_func("/mem/file-refused", test_file_refused);
    g_test_add_func("/mem/prealloc", test_prealloc);
    g_test_add_func("/mem/prealloc-fails", test_prealloc_fails);
    g_test_add_func("/mem/slots", test_slots);
    g_test_add_func("/mem/no-slots", test_no_slots);
    g_test_add_func("/mem/limits", test_limits);
    g_test_add_func("/mem/layout-sizes", test_layout_sizes);
    g_test_add_func("/mem/layout-of-several", test_layout_of_several);
    g_test_add_func("/mem/layout-again", test_layout_again);
    g_test_add_func("/mem/layout-refused", test_layout_refused);
    g_test_add_func("/mem/e820", test_e820);
    return g_test_run();
}
