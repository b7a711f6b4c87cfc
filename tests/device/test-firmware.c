/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-firmware.c - the firmware device: which images it takes, where they stand, what PAM shows below 1 MiB, what a reset brings
 * back, and what firmware alone finds in fw_cfg. That real firmware runs is tests/system/test-firmware.py's to show.
 */
#include "firmware-rig.h"

#include "../../devices/core/abi.h"

static char *dir, *image; /* a good image of 256 KiB */

static void regions_are(Rig *rig, const char *wanted)
{
    g_autoptr(GString) text = g_string_new(NULL);
    MemMap *map = vm_memory_ref_map(rig->vm);
    guint n;
    const MemRegion *r = mem_map_regions(map, &n);

    for (guint i = 0; i < n; i++)
        g_string_append_printf(text, "%" G_GINT64_MODIFIER "x-%" G_GINT64_MODIFIER "x%s ", r[i].gpa, r[i].gpa + r[i].size,
                               r[i].flags & MEM_READONLY ? "r" : "");
    vm_memory_unref_map(rig->vm, map);
    g_assert_cmpstr(text->str, ==, wanted);
}

/* ---- images ---- */

static void refuse_file(Rig *rig, const char *name, gsize len, const char *fragment)
{
    g_autofree char *path = image_file(dir, name, len);

    rig_refuse(rig, fragment, "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"}", path);
    g_unlink(path);
}

static void test_bad_images(void)
{
    g_autoptr(Rig) rig = rig_new();
    g_autofree char *blank = g_build_filename(dir, "blank", NULL), *fifo = g_build_filename(dir, "fifo", NULL);
    FILE *f = fopen(blank, "w");

    rig_plug(rig, "{\"driver\":\"board\"}");
    rig_refuse(rig, "No such file", "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s/none\"}", dir);
    rig_refuse(rig, "is a directory, not a file", "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"}", dir);
    rig_refuse(rig, "Property 'file' of device 'fw'", "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"}", dir);
    rig_refuse(rig, "'file' is missing", "{\"driver\":\"firmware\",\"id\":\"fw\"}");
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    rig_refuse(rig, "is not a regular file", "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"}", fifo);
    refuse_file(rig, "empty", 0, "is empty");
    refuse_file(rig, "short", 65535, "it has 65535 bytes, an image has a multiple of 65536, at most 16777216");
    refuse_file(rig, "odd", 65537, "it has 65537 bytes");
    refuse_file(rig, "long", (16u << 20) + 65536, "it has 16842752 bytes");
    g_assert_cmpint(ftruncate(fileno(f), 65536), ==, 0);
    fclose(f);
    rig_refuse(rig, "are all 0x00", "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"}", blank);
}

static void test_sizes(void)
{
    static const gsize sizes[] = { 0x10000, 0x20000, 0x30000, 0x40000, 16u << 20 };

    for (guint i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *path = image_file(dir, "sized", sizes[i]);
        g_autoptr(Rig) rig = rig_with_firmware(path, "");
        guint64 base = (G_GUINT64_CONSTANT(1) << 32) - sizes[i], shown = MIN(sizes[i], 0x20000);

        plug_dimm(rig, "m", 2u << 20);
        start(rig);
        g_assert_cmphex(peek(rig, base), ==, image_byte(0));
        g_assert_cmphex(peek(rig, 0xffffffff), ==, image_byte(sizes[i] - 1));
        g_assert_cmphex(peek(rig, base - 1), ==, 0xff);
        g_assert_cmphex(peek(rig, AREA_END - 1), ==, image_byte(sizes[i] - 1));
        g_assert_cmphex(peek(rig, AREA_END - shown), ==, image_byte(sizes[i] - shown));
        g_assert_cmphex(peek(rig, AREA_END - shown - 1), ==, 0xff);
    }
}

static void test_one_starter(void)
{
    g_autoptr(Rig) rig = rig_new();

    rig_plug(rig, "{\"driver\":\"board\"}");
    Device *fw = rig_plug(rig, "{\"driver\":\"firmware\",\"id\":\"bios\",\"file\":\"%s\"}", image);
    rig_refuse(rig, "can be plugged once", "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"}", image);
    rig_refuse(rig, "Device 'k' (linux-loader) starts the machine, and so does device 'bios' (firmware)",
               "{\"driver\":\"linux-loader\",\"id\":\"k\",\"kernel\":\"%s\"}", image);
    rig_remove(fw);
    rig_refuse(rig, "is no kernel", "{\"driver\":\"linux-loader\",\"id\":\"k\",\"kernel\":\"%s\"}", image);
}

/* ---- places ---- */

static void test_without_cpu(void)
{
    g_autoptr(Rig) rig = rig_new();
    g_autoptr(GError) error = NULL;

    rig_plug(rig, "{\"driver\":\"board\"}");
    rig_plug(rig, "{\"driver\":\"firmware\",\"id\":\"fw\",\"file\":\"%s\"}", image);
    plug_dimm(rig, "m", 2u << 20);
    lay_out(rig);
    g_assert_false(device_set_power_on(rig->set, &error));
    g_assert_cmpstr(error->message, ==, "Device 'fw' has no CPU to start its image on: plug one first");
}

/* A start that fails leaves nothing behind, and what was wrong can be mended. */
static void test_too_little_ram(void)
{
    g_autoptr(Rig) rig = rig_with_firmware(image, "");
    g_autoptr(GError) error = NULL;
    Device *small = plug_dimm(rig, "a", 0xd0000);

    plug_dimm(rig, "b", 2u << 20);
    lay_out(rig);
    regions_are(rig, "0-c0000 100000-2d0000 "); /* the second module lacks what lies in the area */
    device_set_reset(rig->set, RESET_COLD);
    g_assert_false(device_set_power_on(rig->set, &error));
    g_assert_nonnull(strstr(error->message, "0x100000 bytes of RAM in the first memory module"));
    mem_layout_undo(rig->set);
    regions_are(rig, "");
    rig_remove(small);
    start(rig);
    g_assert_cmphex(peek(rig, 0xffffffff), ==, image_byte(IMAGE_LEN - 1));
}

static void test_layout(void)
{
    g_autoptr(Rig) rig = rig_with_firmware(image, "");
    Device *fw = device_set_find(rig->set, NS_DEVICE, "fw");

    plug_dimm(rig, "a", 3u << 20);
    plug_dimm(rig, "b", G_GUINT64_CONSTANT(4) << 30);
    lay_out(rig);
    rig_power_on(rig);
    regions_are(rig, "0-c0000 e0000-100000r 100000-300000 300000-80000000 fffc0000-100000000r 100000000-180300000 ");
    vm_pause(rig->vm);
    mem_layout_undo(rig->set);
    regions_are(rig, "fffc0000-100000000r ");

    /* Without firmware RAM has no hole. */
    rig_remove(fw);
    regions_are(rig, "");
    lay_out(rig);
    rig_power_on(rig);
    regions_are(rig, "0-300000 300000-80000000 100000000-180300000 ");
    set_pam(rig, 0, 0x10); /* a register only */
    regions_are(rig, "0-300000 300000-80000000 100000000-180300000 ");
}

/* ---- PAM ---- */

/* What a CPU finds at one address of each granule, whatever the neighbours' modes are. RAM beneath holds VALUE[G]. */
static void check_granule(Rig *rig, guint g, guint mode, guint8 value[16])
{
    guint64 at = AREA + g * GRANULE + 0x1234;
    guint8 rom = g >= 8 ? image_byte(0x20000 + (g - 8) * GRANULE + 0x1234) : 0xff;

    g_assert_cmphex(peek(rig, at), ==, mode & 1 ? value[g] : rom);
    poke(rig, at, (guint8)(value[g] + 1));
    if (mode & 2)
        value[g]++;
    g_assert_cmphex(peek(rig, at), ==, mode & 1 ? value[g] : rom);
}

static void test_pam_modes(void)
{
    g_autoptr(Rig) rig = rig_with_firmware(image, "");
    guint8 pam[7] = { 0 }, value[16] = { 0 };
    guint modes[16] = { 0 };
    guint32 seed = g_test_rand_int();
    g_autoptr(GRand) rnd = g_rand_new_with_seed(seed);

    g_test_message("seed %u", seed);
    plug_dimm(rig, "m", 2u << 20);
    start(rig);
    for (guint round = 0; round < 300; round++) {
        guint g = (guint)g_rand_int_range(rnd, 0, 16), mode = (guint)g_rand_int_range(rnd, 0, 4);

        set_mode(rig, pam, g, mode);
        for (guint i = 0; i < 16; i++) {
            if (i == g || (g >= 12 && i >= 12))
                modes[i] = mode;
            check_granule(rig, i, modes[i], value);
        }
    }
}

/* As SeaBIOS does it; neighbours that are alike are one region each time. */
static void test_pam_regions(void)
{
    static const guint8 locked[] = { 0x10, 0x11, 0x11, 0x11, 0x11, 0x31, 0x33 };
    g_autoptr(Rig) rig = rig_with_firmware(image, "");

    plug_dimm(rig, "m", 2u << 20);
    start(rig);
    regions_are(rig, "0-c0000 e0000-100000r 100000-200000 fffc0000-100000000r ");
    for (guint i = 0; i < 7; i++)
        set_pam(rig, i, i ? 0x33 : 0x30);
    regions_are(rig, "0-c0000 c0000-100000 100000-200000 fffc0000-100000000r ");
    for (guint i = 0; i < 7; i++)
        set_pam(rig, i, locked[i]);
    regions_are(rig, "0-c0000 c0000-e4000r e4000-f0000 f0000-100000r 100000-200000 fffc0000-100000000r ");
    set_pam(rig, 0, 0xff); /* reserved bits have no effect */
    regions_are(rig, "0-c0000 c0000-e4000r e4000-100000 100000-200000 fffc0000-100000000r ");
}

/* ROM is back, as new; RAM beneath keeps what firmware wrote. */
static void test_reset(void)
{
    g_autoptr(Rig) rig = rig_with_firmware(image, "");
    guint8 byte = 0x5a;

    plug_dimm(rig, "m", 2u << 20);
    start(rig);
    set_pam(rig, 0, 0x30);
    poke(rig, 0xf0000, 0x77);
    g_assert_cmphex(peek(rig, 0xf0000), ==, 0x77);
    poke(rig, ROM_BASE, 0x5a);
    g_assert_cmphex(peek(rig, ROM_BASE), ==, image_byte(0));
    g_assert_false(vm_memory_write(rig->vm, ROM_BASE, &byte, 1)); /* a device can not either */
    g_assert_false(vm_memory_fill(rig->vm, 0xe0000, 0, 16));
    *(guint8 *)vm_memory_ptr(rig->vm, ROM_BASE, 1) = 0x5a;
    vm_pause(rig->vm);
    device_set_reset(rig->set, RESET_WARM);
    rig_power_on(rig);
    g_assert_cmphex(peek(rig, 0xf0000), ==, image_byte(0x30000));
    g_assert_cmphex(peek(rig, ROM_BASE), ==, image_byte(0));
    set_pam(rig, 0, 0x10);
    g_assert_cmphex(peek(rig, 0xf0000), ==, 0x77);
}

/* The file is read once. */
static void test_file_changes(void)
{
    g_autofree char *path = image_file(dir, "changing", IMAGE_LEN);
    g_autoptr(Rig) rig = rig_with_firmware(path, "");

    g_assert_cmpint(truncate(path, 10), ==, 0);
    plug_dimm(rig, "m", 2u << 20);
    start(rig);
    g_assert_cmphex(peek(rig, 0xffffffff), ==, image_byte(IMAGE_LEN - 1));
}

/* A loaded host bridge shows what its registers say. */
static void test_load(void)
{
    g_autoptr(Rig) from = rig_with_firmware(image, ""), to = rig_with_firmware(image, "");
    g_autoptr(GError) error = NULL;

    plug_dimm(from, "m", 2u << 20);
    plug_dimm(to, "m", 2u << 20);
    start(from);
    start(to);
    set_pam(from, 0, 0x30);
    g_autoptr(GVariant) state = device_save(device_set_part(from->set, "q35-host-bridge"));
    device_load(device_set_part(to->set, "q35-host-bridge"), state, &error);
    g_assert_no_error(error);
    rig_settle();
    regions_are(to, "0-c0000 e0000-f0000r f0000-100000 100000-200000 fffc0000-100000000r ");
}

/* ---- what firmware is told ---- */

static void file_is(Rig *rig, const char *name, const void *wanted, gsize len)
{
    gsize have = 0;
    GBytes *content = fw_cfg_get_file(rig->set, name);
    const void *data = content ? g_bytes_get_data(content, &have) : NULL;

    g_assert_nonnull(content);
    g_assert_cmpmem(data, have, wanted, len);
}

static void test_settings(void)
{
    g_autoptr(Rig) plain = rig_with_firmware(image, "");
    g_autoptr(Rig) told = rig_with_firmware(image, ",\"reboot-timeout\":4294967295,\"console-port\":0,\"boot-strict\":true");

    plug_dimm(plain, "m", 2u << 20);
    plug_dimm(told, "m", 2u << 20);
    start(plain);
    start(told);
    g_assert_null(fw_cfg_get_file(plain->set, "bootorder"));
    g_assert_null(fw_cfg_get_file(plain->set, "etc/boot-fail-wait"));
    file_is(plain, "etc/sercon-port", "\xf8\x03", 2);
    file_is(told, "bootorder", "HALT", 5);
    file_is(told, "etc/boot-fail-wait", "\xff\xff\xff\xff", 4);
    file_is(told, "etc/sercon-port", "\0", 2);
    g_assert_nonnull(fw_cfg_get_file(plain->set, "etc/table-loader"));
    g_assert_nonnull(fw_cfg_get_file(plain->set, "etc/smbios/smbios-anchor"));
    g_assert_nonnull(fw_cfg_get_file(plain->set, "etc/e820"));
}

static void order_is(GPtrArray *paths, gboolean strict, const char *wanted, gsize len)
{
    g_autoptr(GBytes) order = firmware_boot_order(paths, strict);
    gsize have;
    const void *data = g_bytes_get_data(order, &have);

    g_assert_cmpmem(data, have, wanted, len);
}

static void test_boot_order(void)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();

    order_is(paths, FALSE, "", 0);
    g_ptr_array_add(paths, (gpointer) "/pci@i0cf8/scsi@3/disk@0,0");
    order_is(paths, FALSE, "/pci@i0cf8/scsi@3/disk@0,0", 27);
    g_ptr_array_add(paths, (gpointer) "/b");
    order_is(paths, FALSE, "/pci@i0cf8/scsi@3/disk@0,0\n/b", 30);
    order_is(paths, TRUE, "/pci@i0cf8/scsi@3/disk@0,0\n/b\nHALT", 35);
}

/* The image is part of the fingerprint. */
static void test_abi(void)
{
    g_autofree char *other = image_file(dir, "other", IMAGE_LEN + 0x10000);
    g_autoptr(Rig) a = rig_with_firmware(image, ""), b = rig_with_firmware(image, ""), c = rig_with_firmware(other, "");
    guint8 root[3][ABI_HASH_LEN];
    g_autoptr(GPtrArray) leaves = NULL;
    guint found = 0;

    abi_fingerprint(a->set, root[0], &leaves);
    abi_fingerprint(b->set, root[1], NULL);
    abi_fingerprint(c->set, root[2], NULL);
    g_assert_cmpmem(root[0], ABI_HASH_LEN, root[1], ABI_HASH_LEN);
    g_assert_cmpint(memcmp(root[0], root[2], ABI_HASH_LEN), !=, 0);
    for (guint i = 0; i < leaves->len; i++) {
        const AbiLeaf *leaf = g_ptr_array_index(leaves, i);
        found += strcmp(leaf->item, "image-sha256") == 0 && g_bytes_get_size(leaf->bytes) == 32;
    }
    g_assert_cmpuint(found, ==, 1);
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    dir = rig_tmp_new();
    image = image_file(dir, "image", IMAGE_LEN);
    g_test_add_func("/firmware/bad-images", test_bad_images);
    g_test_add_func("/firmware/sizes", test_sizes);
    g_test_add_func("/firmware/one-starter", test_one_starter);
    g_test_add_func("/firmware/without-cpu", test_without_cpu);
    g_test_add_func("/firmware/too-little-ram", test_too_little_ram);
    g_test_add_func("/firmware/layout", test_layout);
    g_test_add_func("/firmware/pam-modes", test_pam_modes);
    g_test_add_func("/firmware/pam-regions", test_pam_regions);
    g_test_add_func("/firmware/reset", test_reset);
    g_test_add_func("/firmware/file-changes", test_file_changes);
    g_test_add_func("/firmware/load", test_load);
    g_test_add_func("/firmware/settings", test_settings);
    g_test_add_func("/firmware/boot-order", test_boot_order);
    g_test_add_func("/firmware/abi", test_abi);
    status = g_test_run();
    rig_tmp_remove(dir);
    g_free(image);
    return status;
}
