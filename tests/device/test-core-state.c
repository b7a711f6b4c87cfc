/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-core-state.c - the device model itself: saving, guest errors, the fingerprint, files that properties name. */
#include "core-types.h"

/* ---- saving ---- */

static Gadget *filled(Rig *rig)
{
    Gadget *g = (Gadget *)rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");

    g->flag = TRUE;
    g->u8 = 0xab;
    g->u16 = 0xabcd;
    g->u32 = 0xabcdef01;
    g->u64 = G_MAXUINT64;
    g->i64 = G_MININT64;
    memcpy(g->bytes, "\0\1\2\xff", 4);
    return g;
}

static void test_save_and_load(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Gadget *g = filled(rig);
    g_autoptr(GVariant) saved = device_save(&g->dev);
    g_autofree char *text = g_variant_print(saved, FALSE);
    g_autoptr(GError) error = NULL;

    g_assert_cmpstr(text, ==, "{'flag': <true>, 'u8': <byte 0xab>, 'u16': <uint16 43981>, 'u32': <uint32 2882400001>, 'u64': "
                              "<uint64 18446744073709551615>, 'i64': <int64 -9223372036854775808>, 'bytes': <[byte 0x00, 0x01, 0x02, 0xff]>}");
    memset((char *)g + sizeof(Device), 0, sizeof *g - sizeof(Device));
    /* Through bytes, as from a file. */
    g_autoptr(GBytes) bytes = g_variant_get_data_as_bytes(saved);
    g_autoptr(GVariant) read = g_variant_ref_sink(g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, bytes, FALSE));
    g_assert_true(device_load(&g->dev, read, &error));
    g_assert_cmpuint(g->loads, ==, 1);
    g_autoptr(GVariant) again = device_save(&g->dev);
    g_assert_true(g_variant_equal(saved, again));
}

static void test_load_missing(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Gadget *g = filled(rig);
    g_autoptr(GVariant) some = g_variant_ref_sink(g_variant_new_parsed("{'u8': <byte 1>}"));

    g_assert_true(device_load(&g->dev, some, NULL));
    g_assert_cmpuint(g->u8, ==, 1);
    g_assert_false(g->flag); /* `before`, not what was there */
    g_assert_cmpuint(g->u64, ==, 0);
    g_assert_cmpint(g->i64, ==, 77);
    g_assert_cmpmem(g->bytes, 4, "\xee\xee\xee\xee", 4);
}

static void load_refused(Gadget *g, GVariant *state, const char *fragment)
{
    g_autoptr(GVariant) taken = g_variant_ref_sink(state);
    g_autoptr(GVariant) was = device_save(&g->dev);
    g_autoptr(GError) error = NULL;

    g_assert_false(device_load(&g->dev, taken, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, fragment));
    g_assert_nonnull(strstr(error->message, "'g'"));
    g_autoptr(GVariant) now = device_save(&g->dev);
    g_assert_true(g_variant_equal(was, now));
}

static void test_load_refused(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    Gadget *g = filled(rig);

    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'colour': <byte 1>}"), "'colour'");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'u16': <uint32 1>}"), "'u16' has type 'u', wanted 'q'");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'bytes': <[byte 1, 2, 3]>}"), "3 bytes, wanted 4");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 1>, 'u8': <byte 2>}"), "twice");
    load_refused(g, g_variant_new_parsed("{'u8': <byte 13>, 'flag': <false>}"), "thirteen"); /* post_load's no */
    load_refused(g, g_variant_new_string("state"), "well-formed");
    g_autoptr(GBytes) broken = g_bytes_new_static("\1\2\3\4\5", 5);
    load_refused(g, g_variant_new_from_bytes(G_VARIANT_TYPE_VARDICT, broken, FALSE), "well-formed");
}

/* ---- the guest's mistakes ---- */

static guint logged;

static GLogWriterOutput count_log(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer user)
{
    logged += (level & G_LOG_LEVEL_MESSAGE) != 0;
    return G_LOG_WRITER_HANDLED;
}

static gpointer complain(gpointer dev)
{
    for (guint i = 0; i < 1000; i++)
        device_guest_error(dev, "wrote %u", i);
    return NULL;
}

/* Runs in a child: the log writer can be set once in a process. */
static void test_guest_errors(void)
{
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    g_autoptr(Rig) rig = rig_with_board();
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\"}"), *other = rig_plug(rig, "{\"driver\":\"gadget\"}");
    GThread *threads[4];

    g_log_set_writer_func(count_log, NULL, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("guest", complain, dev);
    for (guint i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpuint(logged, ==, 1);
    g_assert_cmpuint(dev->guest_errors, ==, 3999);
    device_guest_error(other, "has a limit of its own");
    g_assert_cmpuint(logged, ==, 2);
    dev->guest_error_at -= 2 * G_USEC_PER_SEC;
    device_guest_error(dev, "a second later");
    g_assert_cmpuint(logged, ==, 3);
    g_assert_cmpuint(dev->guest_errors, ==, 0);
}

/* ---- fingerprint ---- */

static GPtrArray *fingerprint(Rig *rig, guint8 root[ABI_HASH_LEN])
{
    GPtrArray *leaves = NULL;

    abi_fingerprint(rig->set, root, &leaves);
    return leaves;
}

static const AbiLeaf *leaf_find(GPtrArray *leaves, const char *device, const char *item)
{
    for (guint i = 0; i < leaves->len; i++) {
        const AbiLeaf *leaf = g_ptr_array_index(leaves, i);
        if (strcmp(leaf->device, device) == 0 && strcmp(leaf->item, item) == 0)
            return leaf;
    }
    return NULL;
}

static void test_abi_leaves(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    guint8 root[ABI_HASH_LEN];

    rig_plug(rig, "{\"chardev\":\"talker\",\"id\":\"t\"}");
    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\",\"peer\":\"t\"}");
    g_autoptr(GPtrArray) leaves = fingerprint(rig, root);
    g_assert_nonnull(leaf_find(leaves, "g", "prop:a"));
    g_assert_null(leaf_find(leaves, "g", "prop:live")); /* not the guest's */
    g_assert_null(leaf_find(leaves, "g", "prop:peer"));
    g_assert_null(leaf_find(leaves, "t", "prop:a")); /* the host's side is not visible */
    g_assert_nonnull(leaf_find(leaves, "board", "part-a:registers"));
    const AbiLeaf *masked = leaf_find(leaves, "g", "masked");
    g_assert_cmpuint(g_bytes_get_size(masked->mask), ==, 2);
    for (guint i = 1; i < leaves->len; i++) {
        const AbiLeaf *before = g_ptr_array_index(leaves, i - 1), *leaf = g_ptr_array_index(leaves, i);
        int by_device = strcmp(before->device, leaf->device);
        g_assert_true(by_device < 0 || (by_device == 0 && strcmp(before->item, leaf->item) < 0));
    }
}

static void test_abi_one_change(void)
{
    g_autoptr(Rig) rig = rig_with_board();
    guint8 before[ABI_HASH_LEN], after[ABI_HASH_LEN], back[ABI_HASH_LEN];
    Device *dev = rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"g\"}");
    guint moved = 0;

    rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"h\"}");
    g_autoptr(GPtrArray) old = fingerprint(rig, before);
    prop_bag_set_u(dev->bag, "a", 60, ORIGIN_CONFIG);
    abi_fingerprint(rig->set, after, NULL);
    g_assert_cmpmem(before, ABI_HASH_LEN, after, ABI_HASH_LEN); /* cached: nobody said that it changed */
    abi_invalidate(dev);
    g_autoptr(GPtrArray) new = fingerprint(rig, after);
    g_assert_cmpint(memcmp(before, after, ABI_HASH_LEN), !=, 0);
    g_assert_cmpuint(old->len, ==, new->len);
    for (guint i = 0; i < old->len; i++) {
        const AbiLeaf *a = g_ptr_array_index(old, i), *b = g_ptr_array_index(new, i);
        if (memcmp(a->hash, b->hash, ABI_HASH_LEN) == 0)
            continue;
        moved++;
        g_assert_cmpstr(a->item, ==, "prop:a");
        g_assert_cmpstr(a->device, ==, "g");
    }
    g_assert_cmpuint(moved, ==, 1);
    prop_bag_set_u(dev->bag, "live", 60, ORIGIN_CONFIG); /* not visible */
    prop_bag_set_u(dev->bag, "a", 1, ORIGIN_HINT);       /* the value counts, not where it is from */
    abi_invalidate(dev);
    abi_fingerprint(rig->set, back, NULL);
    g_assert_cmpmem(before, ABI_HASH_LEN, back, ABI_HASH_LEN);
}

static void test_abi_order_and_cache(void)
{
    static const char *const ids[] = { "g", "h", "i" };
    guint8 roots[2][ABI_HASH_LEN];

    for (guint pass = 0; pass < 2; pass++) {
        g_autoptr(Rig) rig = rig_with_board();
        for (guint i = 0; i < 3; i++)
            rig_plug(rig, "{\"driver\":\"gadget\",\"id\":\"%s\",\"a\":%u}", ids[pass ? 2 - i : i], pass ? 2 - i : i);
        abi_fingerprint(rig->set, roots[pass], NULL);
        g_string_truncate(journal, 0);
        abi_fingerprint(rig->set, roots[pass], NULL);
        journal_is(""); /* nothing made anew */
        rig_remove(device_set_find(rig->set, NS_DEVICE, "h"));
        g_string_truncate(journal, 0);
        guint8 less[ABI_HASH_LEN];
        abi_fingerprint(rig->set, less, NULL);
        journal_is("board:abi board/part-a:abi board/part-b:abi"); /* the board lists the devices */
        g_assert_cmpint(memcmp(less, roots[pass], ABI_HASH_LEN), !=, 0);
    }
    g_assert_cmpmem(roots[0], ABI_HASH_LEN, roots[1], ABI_HASH_LEN);
}

/* ---- files ---- */

static int give_fd(gpointer user, gint64 set, int flags, GError **error)
{
    if (set == 7)
        return 42;
    error_set(error, "no such set");
    return -1;
}

static void test_open_path(void)
{
    static const DeviceObserver with_sets = { .open_fdset = give_fd };
    g_autoptr(Rig) rig = rig_with_board();
    g_autofree char *tmp = rig_tmp_new(), *file = g_build_filename(tmp, "f", NULL), *huge = g_strnfill(900, 'p');
    g_autofree char *set_with_tail = g_strdup_printf("/dev/fdset/%s", huge);
    const char *bad[] = { "/dev/fdset/8", "/dev/fdset/", "/dev/fdset/-1", "/dev/fdset/7x", set_with_tail, tmp, huge };
    DeviceSet *set = device_set_new(rig->vm, &with_sets, NULL);
    Device *dev;

    device_plug_publish(device_plug_realize(set, rig_bag("{\"driver\":\"board\",\"id\":\"b\"}", NULL), NULL));
    dev = device_plug_realize(set, rig_bag("{\"driver\":\"gadget\",\"id\":\"g\"}", NULL), NULL);
    int fd = device_open_path(dev, "peer", file, O_WRONLY | O_CREAT, 0600, NULL);
    g_assert_cmpint(fcntl(fd, F_GETFD) & FD_CLOEXEC, !=, 0);
    close(fd);
    g_assert_cmpint(device_open_path(dev, "peer", "/dev/fdset/7", O_RDONLY, 0, NULL), ==, 42);
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_cmpint(device_open_path(dev, "peer", bad[i], O_WRONLY, 0, &error), ==, -1);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, "'peer'"));
        g_assert_nonnull(strstr(error->message, "'g'"));
        g_assert_cmpuint(strlen(error->message), <, 420);
    }
    g_assert_cmpint(device_open_path(dev, "peer", "/dev/fdset/8", O_WRONLY, 0, NULL), ==, -1); /* nobody asks why */
    device_set_free(set);
    rig_tmp_remove(g_steal_pointer(&tmp));
}

int main(int argc, char **argv)
{
    int status;

    g_test_init(&argc, &argv, NULL);
    journal = g_string_new(NULL);
    g_test_add_func("/core/save-and-load", test_save_and_load);
    g_test_add_func("/core/load-missing", test_load_missing);
    g_test_add_func("/core/load-refused", test_load_refused);
    g_test_add_func("/core/guest-errors", test_guest_errors);
    g_test_add_func("/core/abi-leaves", test_abi_leaves);
    g_test_add_func("/core/abi-one-change", test_abi_one_change);
    g_test_add_func("/core/abi-order-and-cache", test_abi_order_and_cache);
    g_test_add_func("/core/open-path", test_open_path);
    status = g_test_run();
    g_string_free(journal, TRUE);
    return status;
}
