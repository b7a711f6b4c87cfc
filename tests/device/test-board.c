/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The board as a device: rows and their combinations, memory layout, life of the parts,
 * fingerprint. */
#include "board-test.h"

#define GIB (G_GUINT64_CONSTANT(1) << 30)
#define MIB (G_GUINT64_CONSTANT(1) << 20)

static void test_defaults(void)
{
    BoardTest t;

    board_test_init(&t, BOARD_DEFAULT);
    const BoardConfig *c = board_config(t.set);
    PropBag *bag = device_set_board(t.set)->bag;
    g_assert_cmpuint(c->max_cpus, ==, 240);
    g_assert_cmpuint(c->cpu_sockets, ==, 1);
    g_assert_cmpuint(c->cpu_dies, ==, 1);
    g_assert_cmpuint(c->cpu_cores, ==, 240);
    g_assert_cmpuint(c->cpu_threads, ==, 1);
    g_assert_cmpint(prop_bag_origin(bag, "cpu-cores"), ==, ORIGIN_DEFAULT);
    g_assert_cmpint(prop_bag_origin(bag, "phys-bits"), ==, ORIGIN_HOST);
    g_assert_cmpuint(c->max_memory, ==,
                     MIN(1024 * GIB, G_GUINT64_CONSTANT(1) << (c->phys_bits - 2)));
    /* every row has its value, except what the layout decides */
    for (guint i = 0; i < bag->table->n_rows; i++) {
        const char *name = bag->table->rows[i].name;
        gboolean later = !strcmp(name, "lowmem") || !strcmp(name, "device-memory-base") ||
                         !strcmp(name, "pci-hole64-base");
        g_test_message("%s", name);
        g_assert_cmpint(bag->origin[i] == ORIGIN_UNSET, ==, later);
    }
    board_test_clear(&t);
}

static void test_topology_fits(void)
{
    BoardTest t;

    board_test_init(
        &t,
        "{\"driver\": \"board\", \"max-cpus\": 24, \"cpu-sockets\": 2, \"cpu-dies\": 2, "
        "\"cpu-threads\": 2}");
    g_assert_cmpuint(board_config(t.set)->cpu_cores, ==, 3);
    board_test_clear(&t);
}

static const struct {
    const char *json, *message;
} refused[] = {
    { "{\"driver\": \"board\", \"max-cpus\": 8, \"cpu-sockets\": 3}",
      "cpu-sockets (3) x cpu-dies (1) x cpu-cores (1) x cpu-threads (1) is 3, but max-cpus is 8" },
    { "{\"driver\": \"board\", \"max-cpus\": 8, \"cpu-sockets\": 2, \"cpu-cores\": 2, "
      "\"cpu-threads\": 4}",
      "cpu-sockets (2) x cpu-dies (1) x cpu-cores (2) x cpu-threads (4) is 16, but max-cpus is 8" },
    { "{\"driver\": \"board\", \"max-cpus\": 1024, \"cpu-sockets\": 1024, \"cpu-dies\": 1024, "
      "\"cpu-cores\": 1024, "
      "\"cpu-threads\": 1024}",
      "is 1099511627776, but max-cpus is 1024" },
    { "{\"driver\": \"board\", \"max-cpus\": 0}", "max-cpus" },
    { "{\"driver\": \"board\", \"max-cpus\": 1025}", "max-cpus" },
    { "{\"driver\": \"board\", \"phys-bits\": 52}",
      "phys-bits is 52, but the host's processor has" },
    { "{\"driver\": \"board\", \"phys-bits\": 36, \"max-memory\": 137438953472}",
      "max-memory is 0x2000000000, but phys-bits (36) allows 0x1000000000" },
    { "{\"driver\": \"board\", \"lowmem\": 2147483647}",
      "lowmem (0x7fffffff) is not a multiple of 1 MiB" },
    { "{\"driver\": \"board\", \"ecam-size\": 100663296}",
      "ecam-size is 0x6000000, but must be 64, 128 or 256 MiB" },
    { "{\"driver\": \"board\", \"ecam-base\": 2956984320}",
      "ecam-base (0xb0400000) is not a multiple of ecam-size" },
    { "{\"driver\": \"board\", \"ecam-base\": 4026531840}", "ends beyond 0xfec00000" },
    { "{\"driver\": \"board\", \"ecam-base\": 3221225472}", "ecam-base (0xc0000000) overlaps" },
    { "{\"driver\": \"board\", \"pci-hole32-base\": 3489660928}",
      "pci-hole32-base (0xd0000000) plus pci-hole32-size" },
    { "{\"driver\": \"board\", \"pm-base\": 1600}", "pm-base (0x640) is not a multiple of 128" },
    { "{\"driver\": \"board\", \"uuid\": \"00112233x4455-6677-8899-aabbccddeeff\"}",
      "uuid '00112233x4455" },
    { "{\"driver\": \"board\", \"rtc-base\": \"tomorrow\"}", "rtc-base 'tomorrow' is not" },
    { "{\"driver\": \"board\", \"cpu-hotplug-base\": 1536}",
      "cpu-hotplug-base" },                                      /* where the PM block is */
    { "{\"driver\": \"board\", \"pm-base\": 3200}", "overlap" }, /* 0xc80-0xcff: over 0xcf8 */
    { "{\"driver\": \"board\", \"sci-irq\": 8}", "sci-irq" },
};

static void test_refused(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(refused); i++) {
        BoardTest t;
        g_autoptr(GError) error = NULL;

        board_test_init_empty(&t);
        g_assert_null(board_test_plug(&t, refused[i].json, &error));
        g_test_message("%s: %s", refused[i].json, error->message);
        g_assert_nonnull(strstr(error->message, refused[i].message));
        /* nothing is left: a good board goes in afterwards */
        g_assert_null(device_set_board(t.set));
        g_assert_null(device_set_part(t.set, "ICH9-LPC"));
        g_clear_error(&error);
        g_assert_nonnull(board_test_plug(&t, BOARD_DEFAULT, &error));
        board_test_clear(&t);
    }
}

static void test_once(void)
{
    BoardTest t;
    g_autoptr(GError) error = NULL;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_null(board_test_plug(&t, BOARD_DEFAULT, &error));
    g_assert_nonnull(strstr(error->message, "can be plugged once"));
    board_test_clear(&t);
}

static void test_remove(void)
{
    BoardTest t;
    g_autoptr(GError) error = NULL;

    board_test_init(&t, BOARD_DEFAULT);
    g_assert_true(device_remove(device_set_board(t.set), &error));
    g_assert_cmphex(inl(&t, 0xcf8), ==, 0xffffffff);
    g_assert_cmphex(inb(&t, 0x71), ==, 0xff);
    g_assert_cmphex(mem_in(&t, 0xb0000000, 4), ==, 0xffffffff);
    /* and another */
    g_assert_nonnull(board_test_plug(&t, "{\"driver\": \"board\", \"max-cpus\": 2}", &error));
    board_test_power_on(&t);
    g_assert_cmphex(mem_in(&t, 0xb0000000, 4), ==, 0x29c08086);
    board_test_clear(&t);
}

/* ---- layout ---- */

typedef struct {
    guint64 ram, lowmem, device_base, hole64;
} LayoutCase;

static void test_layout(void)
{
    static const LayoutCase cases[] = {
        { 0, 2816 * MIB, 4 * GIB, 36 * GIB },
        { 512 * MIB, 2816 * MIB, 4 * GIB, 36 * GIB },
        { 2816 * MIB, 2816 * MIB, 4 * GIB, 36 * GIB },
        { 2817 * MIB, 2048 * MIB, 5 * GIB, 37 * GIB },
        { 6 * GIB, 2048 * MIB, 8 * GIB, 40 * GIB },
        { 32 * GIB, 2048 * MIB, 34 * GIB, 66 * GIB },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        BoardTest t;
        g_autoptr(GError) error = NULL;

        board_test_init(&t, "{\"driver\": \"board\", \"max-memory\": 34359738368}");
        g_assert_true(board_layout_check(t.set, cases[i].ram, &error));
        g_assert_cmphex(board_lowmem(t.set, cases[i].ram), ==, cases[i].lowmem);
        g_assert_false(
            prop_bag_is_set(device_set_board(t.set)->bag, "lowmem")); /* a check changes nothing */
        board_layout_commit(t.set, cases[i].ram);
        g_assert_cmphex(board_config(t.set)->lowmem, ==, cases[i].lowmem);
        g_assert_cmphex(board_config(t.set)->device_memory_base, ==, cases[i].device_base);
        g_assert_cmphex(board_config(t.set)->pci_hole64_base, ==, cases[i].hole64);
        board_test_clear(&t);
    }
}

static void test_layout_given(void)
{
    BoardTest t;

    board_test_init(&t,
                    "{\"driver\": \"board\", \"max-memory\": 8589934592, \"lowmem\": 1073741824, "
                    "\"device-memory-base\": 68719476736, \"pci-hole64-base\": 137438953472}");
    g_assert_true(board_layout_check(t.set, 2 * GIB, NULL));
    board_layout_commit(t.set, 2 * GIB);
    g_assert_cmphex(board_config(t.set)->lowmem, ==, GIB);
    g_assert_cmphex(board_config(t.set)->device_memory_base, ==, 64 * GIB);
    g_assert_cmphex(board_config(t.set)->pci_hole64_base, ==, 128 * GIB);
    g_assert_cmpint(prop_bag_origin(device_set_board(t.set)->bag, "lowmem"), ==, ORIGIN_CONFIG);
    board_test_clear(&t);
}

static void test_layout_refused(void)
{
    static const struct {
        const char *json;
        guint64     ram;
        const char *message;
    } cases[] = {
        { "{\"driver\": \"board\", \"max-memory\": 1073741824}", 2 * GIB,
          "base RAM is 0x80000000 bytes, but max-memory is 0x40000000" },
        { "{\"driver\": \"board\", \"phys-bits\": 36, \"max-memory\": 64424509440}", 8 * GIB,
          "ends beyond 0x1000000000, the limit of phys-bits (36)" },
        { "{\"driver\": \"board\", \"phys-bits\": 36, \"max-memory\": 34359738368}", 8 * GIB,
          "pci-hole64-size" },
        { "{\"driver\": \"board\", \"max-memory\": 34359738368, "
          "\"device-memory-base\": 4294967296}",
          8 * GIB, "device-memory-base (0x100000000) is below the end of base RAM (0x280000000)" },
        { "{\"driver\": \"board\", \"max-memory\": 34359738368, \"pci-hole64-base\": 4294967296}",
          0, "pci-hole64-base (0x100000000) is below the end of device memory" },
        { "{\"driver\": \"board\", \"max-memory\": 34359738368, \"ecam-base\": 2147483648, "
          "\"lowmem\": 2684354560}",
          4 * GIB, "lowmem (0xa0000000) reaches into the windows" },
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        BoardTest t;
        g_autoptr(GError) error = NULL;

        board_test_init(&t, cases[i].json);
        g_assert_false(board_layout_check(t.set, cases[i].ram, &error));
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, cases[i].message));
        board_test_clear(&t);
    }
}

/* ---- fingerprint ---- */

static void fingerprint(const char *json, guint8 root[ABI_HASH_LEN], GPtrArray **leaves)
{
    BoardTest t;

    board_test_init(&t, json);
    abi_fingerprint(t.set, root, leaves);
    board_test_clear(&t);
}

static const AbiLeaf *find_leaf(GPtrArray *leaves, const char *item)
{
    for (guint i = 0; i < leaves->len; i++) {
        const AbiLeaf *leaf = g_ptr_array_index(leaves, i);
        if (strcmp(leaf->item, item) == 0)
            return leaf;
    }
    return NULL;
}

static void test_fingerprint(void)
{
    static const char *const items[] = { "q35-host-bridge:config",
                                         "ICH9-LPC:config",
                                         "ICH9-LPC:config-w1c",
                                         "fw_cfg:directory",
                                         "memory-map",
                                         "prop:max-cpus",
                                         "smbios" };
    guint8 one[ABI_HASH_LEN], two[ABI_HASH_LEN];
    g_autoptr(GPtrArray) leaves = NULL, other = NULL;

    fingerprint(BOARD_DEFAULT, one, &leaves);
    fingerprint(BOARD_DEFAULT, two, NULL);
    g_assert_cmpmem(one, sizeof one, two, sizeof two);
    for (guint i = 0; i < G_N_ELEMENTS(items); i++) {
        g_test_message("%s", items[i]);
        g_assert_nonnull(find_leaf(leaves, items[i]));
    }
    g_assert_null(find_leaf(leaves, "prop:cpu-type")); /* no guest sees it */
    fingerprint("{\"driver\": \"board\", \"lpc-revision\": 3}", two, &other);
    g_assert_cmpint(memcmp(one, two, sizeof one), !=, 0);
    g_assert_false(g_bytes_equal(find_leaf(leaves, "ICH9-LPC:config")->bytes,
                                 find_leaf(other, "ICH9-LPC:config")->bytes));
    g_assert_true(g_bytes_equal(find_leaf(leaves, "q35-host-bridge:config")->bytes,
                                find_leaf(other, "q35-host-bridge:config")->bytes));
}

/* What the guest changes at run time is not part of it. */
static void test_fingerprint_is_no_state(void)
{
    BoardTest t;
    guint8 before[ABI_HASH_LEN], after[ABI_HASH_LEN];

    board_test_init(&t, BOARD_DEFAULT);
    abi_fingerprint(t.set, before, NULL);
    cfg_out(&t, 0x00, 0x90, 0xffffffff, 4);
    cfg_out(&t, 0x00, 0x9d, 0x58, 1);
    cfg_out(&t, 0xf8, 0x60, 0x0a0b0a0b, 4);
    outl(&t, 0x628, 4);
    abi_invalidate(device_set_board(t.set));
    abi_fingerprint(t.set, after, NULL);
    g_assert_cmpmem(before, sizeof before, after, sizeof after);
    board_test_clear(&t);
}

/* ---- all parts at once ---- */

static gboolean collect(Device *part, gpointer names)
{
    g_ptr_array_add(names, (gpointer)part->type->name);
    return TRUE;
}

/* Rubbish to every port and register, then each part moves and gives the same answers. */
static void test_save_load_after_rubbish(void)
{
    BoardTest a, b;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    guint32 seed = (guint32)g_test_rand_int();

    g_test_message("seed %u", seed);
    g_autoptr(GRand) rand = g_rand_new_with_seed(seed);
    board_test_init(&a, BOARD_DEFAULT);
    board_test_init(&b, BOARD_DEFAULT);
    for (guint i = 0; i < 20000; i++) {
        guint16 port = g_rand_int_range(rand, 0, 4) == 0
                           ? (guint16)g_rand_int_range(rand, 0x600, 0x680)
                           : (guint16)g_rand_int_range(rand, 0x60, 0xd00);
        port_out(&a, port, g_rand_int(rand), 1u << g_rand_int_range(rand, 0, 3));
        cfg_out(&a, g_rand_boolean(rand) ? 0x00 : 0xf8, (guint8)g_rand_int(rand), g_rand_int(rand),
                1);
        if (i % 64 == 0) {
            board_test_settle();
            step(&a, g_rand_int_range(rand, 0, 1000000));
        }
    }
    board_test_settle();
    device_set_foreach_part(a.set, collect, names);
    g_assert_cmpuint(names->len, ==, 7);
    g_autoptr(GVariant) irqchip = vm_irqchip_save(a.vm, NULL);
    g_assert_true(vm_irqchip_load(b.vm, irqchip, NULL));
    for (guint i = 0; i < names->len; i++)
        board_test_move(&a, &b, g_ptr_array_index(names, i));
    for (guint port = 0x60; port < 0x10000; port++)
        g_assert_cmphex(inb(&a, port), ==, inb(&b, port));
    board_test_power_on(&a);
    g_assert_cmphex(cfg_in(&a, 0, 0x60, 4), ==, 0xb0000001);
    board_test_clear(&a);
    board_test_clear(&b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/board/defaults", test_defaults);
    g_test_add_func("/board/topology-fits", test_topology_fits);
    g_test_add_func("/board/refused", test_refused);
    g_test_add_func("/board/once", test_once);
    g_test_add_func("/board/remove", test_remove);
    g_test_add_func("/board/layout/auto", test_layout);
    g_test_add_func("/board/layout/given", test_layout_given);
    g_test_add_func("/board/layout/refused", test_layout_refused);
    g_test_add_func("/board/fingerprint/items", test_fingerprint);
    g_test_add_func("/board/fingerprint/is-no-state", test_fingerprint_is_no_state);
    g_test_add_func("/board/save-load-after-rubbish", test_save_load_after_rubbish);
    return g_test_run();
}
