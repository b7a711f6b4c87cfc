/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* fw_cfg: keys, files, directory, data port, DMA with every length and address that a guest may
 * give. */
#include "board-test.h"

#define DESC 0x1000u /* where tests put their DMA descriptor */
#define BUF 0x2000u

enum { DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16 };

static void select_key(BoardTest *t, guint16 key)
{
    outw(t, 0x510, key);
}

static void read_bytes(BoardTest *t, void *buf, gsize len)
{
    for (gsize i = 0; i < len; i++)
        ((guint8 *)buf)[i] = inb(t, 0x511);
}

static guint64 read_key(BoardTest *t, guint16 key, gsize len)
{
    guint8 raw[8] = { 0 };

    select_key(t, key);
    read_bytes(t, raw, len);
    return le64_get(raw);
}

static guint32 be32(const void *p)
{
    return GUINT32_SWAP_LE_BE(le32_get(p));
}

static void put_be32(void *p, guint32 v)
{
    le32_put(p, GUINT32_SWAP_LE_BE(v));
}

/* Finds NAME in the directory as firmware does; 0: not there. */
static guint16 find_file(BoardTest *t, const char *name, guint32 *size)
{
    guint8 raw[64];

    select_key(t, 0x19);
    read_bytes(t, raw, 4);
    for (guint32 n = be32(raw); n > 0; n--) {
        read_bytes(t, raw, 64);
        if (strcmp((char *)raw + 8, name) == 0) {
            *size = be32(raw);
            return GUINT16_SWAP_LE_BE(le16_get(raw + 4));
        }
    }
    return 0;
}

static void set_file(BoardTest *t, const char *name, const char *text)
{
    g_autoptr(GBytes) content = g_bytes_new(text, strlen(text));
    fw_cfg_set_file(t->set, name, content);
}

/* Runs the descriptor at AT, whose bytes are in place. */
static void dma_kick(BoardTest *t, guint64 at)
{
    outl(t, 0x514, GUINT32_SWAP_LE_BE((guint32)(at >> 32)));
    outl(t, 0x518, GUINT32_SWAP_LE_BE((guint32)at));
}

/* One transfer; returns the control word that comes back. */
static guint32 dma(BoardTest *t, guint32 control, guint32 length, guint64 address)
{
    put_be32(t->ram + DESC, control);
    put_be32(t->ram + DESC + 4, length);
    put_be32(t->ram + DESC + 8, (guint32)(address >> 32));
    put_be32(t->ram + DESC + 12, (guint32)address);
    dma_kick(t, DESC);
    return be32(t->ram + DESC);
}

static void test_keys(void)
{
    BoardTest t;
    guint8 raw[16];

    board_test_init(
        &t,
        "{\"driver\": \"board\", \"uuid\": \"00112233-4455-6677-8899-aAbBcCdDeEfF\", "
        "\"max-cpus\": 6, "
        "\"cpu-cores\": 3, \"cpu-threads\": 2}");
    select_key(&t, 0);
    read_bytes(&t, raw, 6);
    g_assert_cmpmem(raw, 6, "QEMU\0\0", 6); /* beyond its end an item is zeros */
    g_assert_cmpuint(read_key(&t, 1, 4), ==, 3);
    select_key(&t, 2);
    read_bytes(&t, raw, 16);
    g_assert_cmpmem(raw, 16, "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff",
                    16);
    g_assert_cmpuint(read_key(&t, 3, 8), ==, 0); /* no memory yet */
    g_assert_cmpuint(read_key(&t, 5, 2), ==, 0); /* nor CPU */
    g_assert_cmpuint(read_key(&t, 0x0f, 2), ==, 6); /* APIC ids 0, 1, 2, 3, 4, 5 */
    g_assert_cmpuint(read_key(&t, 0x8002, 1), ==, 0); /* IRQ 0 is on pin 0 */
    g_assert_cmpuint(read_key(&t, 0x7777, 4), ==, 0);
    board_test_clear(&t);
}

static void test_port_widths(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    select_key(&t, 0);
    g_assert_cmphex(inb(&t, 0x511), ==, 'Q');
    outb(&t, 0x511, 'x'); /* data is read-only */
    outb(&t, 0x510, 0x19);
    g_assert_cmphex(inb(&t, 0x511), ==, 'E');
    select_key(&t, 0x4000); /* the write channel of old selects the same item */
    g_assert_cmphex(inb(&t, 0x511), ==, 'Q');
    board_test_clear(&t);
}

static void test_files(void)
{
    BoardTest t;
    guint32 size = 0, again = 0;
    char text[8] = "";

    board_test_init(&t, BOARD_DEFAULT);
    set_file(&t, "opt/zebra", "stripes");
    set_file(&t, "opt/ant", "six");
    guint16 zebra = find_file(&t, "opt/zebra", &size);
    guint16 ant = find_file(&t, "opt/ant", &size);
    g_assert_cmpuint(zebra, >=, 0x20);
    g_assert_cmpuint(ant, ==, zebra + 1);
    g_assert_cmpuint(size, ==, 3);
    select_key(&t, zebra);
    read_bytes(&t, text, 7);
    g_assert_cmpstr(text, ==, "stripes");
    /* replaced: same key, new content; the tables' place too, over a reset */
    guint16 e820 = find_file(&t, "etc/e820", &again);
    set_file(&t, "opt/zebra", "black");
    board_test_power_on(&t);
    g_assert_cmpuint(find_file(&t, "opt/zebra", &size), ==, zebra);
    g_assert_cmpuint(size, ==, 5);
    g_assert_cmpuint(find_file(&t, "etc/e820", &size), ==, e820);
    g_assert_cmpuint(find_file(&t, "opt/bee", &size), ==, 0);
    g_assert_null(fw_cfg_get_file(t.set, "opt/bee"));
    g_assert_cmpuint(g_bytes_get_size(fw_cfg_get_file(t.set, "opt/ant")), ==, 3);
    board_test_clear(&t);
}

/* What lies behind an item in our memory is not for the guest. */
static void test_end_of_item(void)
{
    BoardTest t;
    guint32 size;
    g_autoptr(GBytes) content = g_bytes_new_static("sixSECRET", 3);

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    fw_cfg_set_file(t.set, "opt/ant", content);
    guint16 key = find_file(&t, "opt/ant", &size);
    g_assert_cmpuint(size, ==, 3);
    select_key(&t, key);
    for (guint i = 0; i < 6; i++)
        g_assert_cmphex(inb(&t, 0x511), ==, i < 3 ? "six"[i] : 0);
    g_assert_cmphex(dma(&t, (guint32)key << 16 | DMA_SELECT | DMA_READ, 9, BUF), ==, 0);
    g_assert_cmpmem(t.ram + BUF, 9, "six\0\0\0\0\0\0", 9);
    board_test_clear(&t);
}

static void test_directory_is_sorted(void)
{
    BoardTest t;
    char last[56] = "";
    guint8 raw[64];

    board_test_init(&t, BOARD_DEFAULT);
    set_file(&t, "opt/z", "1");
    set_file(&t, "bootorder", "2");
    select_key(&t, 0x19);
    read_bytes(&t, raw, 4);
    guint32 n = be32(raw);
    g_assert_cmpuint(n, >=, 7); /* e820, four or more of tables, two of ours */
    for (; n > 0; n--) {
        read_bytes(&t, raw, 64);
        g_assert_cmpint(strcmp(last, (char *)raw + 8), <, 0);
        g_strlcpy(last, (char *)raw + 8, sizeof last);
    }
    board_test_clear(&t);
}

static void test_tables_are_there(void)
{
    static const char *const names[] = { "etc/acpi/rsdp",
                                         "etc/acpi/tables",
                                         "etc/e820",
                                         "etc/smbios/smbios-anchor",
                                         "etc/smbios/smbios-tables",
                                         "etc/table-loader" };
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        guint32 size = 0;
        g_test_message("%s", names[i]);
        g_assert_cmpuint(find_file(&t, names[i], &size), >=, 0x20);
        g_assert_cmpuint(size, >, 0);
    }
    board_test_clear(&t);
}

static void test_dma_signature(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_cmphex(inl(&t, 0x514), ==, GUINT32_SWAP_LE_BE(0x51454d55));
    g_assert_cmphex(inl(&t, 0x518), ==, GUINT32_SWAP_LE_BE(0x20434647));
    g_assert_cmphex(inb(&t, 0x51b), ==, 'G');
    board_test_clear(&t);

    board_test_init(&t, "{\"driver\": \"board\", \"fw-cfg-dma\": false}");
    g_assert_cmphex(inl(&t, 0x514), ==, 0xffffffff);
    g_assert_cmpuint(read_key(&t, 1, 4), ==, 1);
    board_test_clear(&t);
}

static void test_dma_read(void)
{
    BoardTest t;
    guint32 size;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    set_file(&t, "opt/x", "0123456789");
    guint16 key = find_file(&t, "opt/x", &size);
    memset(t.ram + BUF, 0xee, 64);
    g_assert_cmphex(dma(&t, (guint32)key << 16 | DMA_SELECT | DMA_READ, 4, BUF), ==, 0);
    g_assert_cmpmem(t.ram + BUF, 5, "0123\xee", 5);
    /* goes on where it was, also through the data port */
    g_assert_cmphex(inb(&t, 0x511), ==, '4');
    g_assert_cmphex(dma(&t, DMA_SKIP, 2, 0), ==, 0);
    /* over the end: zeros */
    g_assert_cmphex(dma(&t, DMA_READ, 8, BUF), ==, 0);
    g_assert_cmpmem(t.ram + BUF, 9, "789\0\0\0\0\0\xee", 9);
    /* an item that does not exist is zeros all along */
    memset(t.ram + BUF, 0xee, 64);
    g_assert_cmphex(dma(&t, 0x12340000u | DMA_SELECT | DMA_READ, 3, BUF), ==, 0);
    g_assert_cmpmem(t.ram + BUF, 4, "\0\0\0\xee", 4);
    board_test_clear(&t);
}

static void test_dma_write_is_refused(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    g_assert_cmphex(dma(&t, DMA_SELECT | DMA_WRITE, 4, BUF), ==, DMA_ERROR);
    g_assert_cmphex(dma(&t, DMA_SELECT, 0, 0), ==, 0);
    g_assert_cmphex(inb(&t, 0x511), ==, 'Q');
    board_test_clear(&t);
}

static void test_dma_limits(void)
{
    static const struct {
        guint32 length;
        guint64 address;
        guint32 result;
    } cases[] = {
        { 0, 0, 0 },
        { 0, G_MAXUINT64, 0 },
        { 1, RAM_SIZE - 1, 0 },
        { 2, RAM_SIZE - 1, DMA_ERROR },
        { 1, RAM_SIZE, DMA_ERROR },
        { 4, G_MAXUINT64 - 1, DMA_ERROR },   /* wraps */
        { 1, G_MAXUINT64, DMA_ERROR },
        { G_MAXUINT32, 0, DMA_ERROR },       /* 4 GiB - 1 */
        { G_MAXUINT32, G_MAXUINT64 - 0x1000, DMA_ERROR },
        { 0x80000000, 0x100000000, DMA_ERROR },
        { RAM_SIZE, 0x100000000, DMA_ERROR },
    };
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_test_message("length 0x%x at 0x%" G_GINT64_MODIFIER "x", cases[i].length,
                       cases[i].address);
        g_assert_cmphex(dma(&t, DMA_SELECT | DMA_READ, cases[i].length, cases[i].address), ==,
                        cases[i].result);
    }
    /* skips may be as long as they like */
    g_assert_cmphex(dma(&t, DMA_SKIP, G_MAXUINT32, 0), ==, 0);
    g_assert_cmphex(dma(&t, DMA_SKIP, G_MAXUINT32, 0), ==, 0);
    g_assert_cmphex(inb(&t, 0x511), ==, 0);
    board_test_clear(&t);
}

/* A descriptor that is not in RAM, or half of it: nothing happens, nobody crashes. */
static void test_dma_bad_descriptor(void)
{
    static const guint64 at[] = { RAM_SIZE,        RAM_SIZE - 8, G_MAXUINT64,
                                  G_MAXUINT64 - 7, 0xfec00000,   1ull << 52 };
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    memset(t.ram + RAM_SIZE - 8, 0xff, 8);
    for (guint i = 0; i < G_N_ELEMENTS(at); i++)
        dma_kick(&t, at[i]);
    g_assert_cmphex(le64_get(t.ram + RAM_SIZE - 8), ==, G_MAXUINT64);
    /* the address register starts at zero for the next */
    put_be32(t.ram + DESC, DMA_SELECT);
    put_be32(t.ram + DESC + 4, 0);
    outl(&t, 0x518, GUINT32_SWAP_LE_BE(DESC));
    g_assert_cmphex(be32(t.ram + DESC), ==, 0);
    board_test_clear(&t);
}

/* The transfer overwrites its own descriptor: the result is written last. */
static void test_dma_onto_itself(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    board_test_ram(&t);
    g_assert_cmphex(dma(&t, DMA_SELECT | DMA_READ, 16, DESC), ==, 0);
    g_assert_cmphex(le32_get(t.ram + DESC + 4), ==, 0);
    board_test_clear(&t);
}

static void test_e820(void)
{
    BoardTest t;
    guint32 size = 0;
    guint8 raw[20];

    board_test_init(&t, BOARD_DEFAULT);
    guint16 key = find_file(&t, "etc/e820", &size);
    g_autoptr(GArray) map = mem_e820(t.set);
    g_assert_cmpuint(size, ==, map->len * 20);
    select_key(&t, key);
    for (guint i = 0; i < map->len; i++) {
        read_bytes(&t, raw, 20);
        g_assert_cmphex(le64_get(raw), ==, g_array_index(map, E820Entry, i).addr);
        g_assert_cmphex(le64_get(raw + 8), ==, g_array_index(map, E820Entry, i).len);
        g_assert_cmphex(le32_get(raw + 16), ==, g_array_index(map, E820Entry, i).type);
    }
    board_test_clear(&t);
}

static void test_save_load(void)
{
    BoardTest a, b;

    board_test_init(&a, BOARD_DEFAULT);
    board_test_init(&b, BOARD_DEFAULT);
    board_test_ram(&b);
    select_key(&a, 0);
    (void)inb(&a, 0x511);
    outl(&a, 0x514, GUINT32_SWAP_LE_BE(0x12)); /* half an address */
    board_test_move(&a, &b, "fw_cfg");
    g_assert_cmphex(inb(&a, 0x511), ==, 'E');
    g_assert_cmphex(inb(&b, 0x511), ==, 'E');
    /* a record that points behind the item reads as zeros */
    GVariantDict dict;
    g_autoptr(GError) error = NULL;
    g_autoptr(GVariant) saved = device_save(device_set_part(a.set, "fw_cfg"));
    g_variant_dict_init(&dict, saved);
    g_variant_dict_insert(&dict, "offset", "u", G_MAXUINT32);
    g_autoptr(GVariant) record = g_variant_ref_sink(g_variant_dict_end(&dict));
    g_assert_true(device_load(device_set_part(b.set, "fw_cfg"), record, &error));
    g_assert_cmphex(inb(&b, 0x511), ==, 0);
    g_assert_cmphex(dma(&b, DMA_READ, 4, BUF), ==, 0);
    board_test_clear(&a);
    board_test_clear(&b);
}

static void test_reset(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    select_key(&t, 0x19);
    board_test_power_on(&t);
    g_assert_cmphex(inb(&t, 0x511), ==, 'Q');
    board_test_clear(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fw-cfg/keys", test_keys);
    g_test_add_func("/fw-cfg/port-widths", test_port_widths);
    g_test_add_func("/fw-cfg/files", test_files);
    g_test_add_func("/fw-cfg/end-of-item", test_end_of_item);
    g_test_add_func("/fw-cfg/directory-is-sorted", test_directory_is_sorted);
    g_test_add_func("/fw-cfg/tables-are-there", test_tables_are_there);
    g_test_add_func("/fw-cfg/e820", test_e820);
    g_test_add_func("/fw-cfg/dma/signature", test_dma_signature);
    g_test_add_func("/fw-cfg/dma/read", test_dma_read);
    g_test_add_func("/fw-cfg/dma/write-is-refused", test_dma_write_is_refused);
    g_test_add_func("/fw-cfg/dma/limits", test_dma_limits);
    g_test_add_func("/fw-cfg/dma/bad-descriptor", test_dma_bad_descriptor);
    g_test_add_func("/fw-cfg/dma/onto-itself", test_dma_onto_itself);
    g_test_add_func("/fw-cfg/save-load", test_save_load);
    g_test_add_func("/fw-cfg/reset", test_reset);
    return g_test_run();
}
